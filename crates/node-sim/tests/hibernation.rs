//! Pods that are kept asleep with their memory.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use contract::conditions::types;
use contract::names::annotations;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use support::{LIMIT, Lab, condition, container, enclosed, shell};

/// Tells the node to keep the pod asleep, or not to.
async fn hibernate(lab: &Lab, wanted: Option<&str>) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {annotations::HIBERNATE: wanted}}}));
    lab.pods().patch("box", &PatchParams::default(), &patch).await.expect("patched");
}

/// What a container counted, read from outside: nothing can be run in a pod that sleeps.
fn counted(root: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{root}/root/count")).expect("a count");
    text.trim().parse().expect("a number")
}

/// States of the processes of the same PID namespace, but for those that have ended.
fn states(root: i32) -> Vec<char> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(&root.to_string());
    let all = std::fs::read_dir("/proc").expect("a table").flatten();
    let pids = all.filter_map(|entry| entry.file_name().into_string().ok());
    let inside = pids.filter(|pid| pid.parse::<i32>().is_ok() && namespace(pid) == wanted);
    let stats = inside.filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    stats.filter_map(|text| text.rsplit_once(") ")?.1.chars().next()).filter(|state| *state != 'Z').collect()
}

/// Counts, once somebody else has stopped one of its processes.
const COUNTING: &str = "sleep 100000 & echo $! > /stopped; kill -STOP $!; \
    until grep -q ') T' /proc/$!/stat; do sleep 0.01; done; \
    (while :; do n=$((n + 1)); echo $n > /new; mv /new /count; sleep 0.01; done) & while :; do sleep 0.01; done";
/// Succeeds while it counts.
const COUNTS_ON: &str = "was=$(cat /count); sleep 0.3; [ $(cat /count) != $was ]";

#[test]
fn a_pod_that_hibernates_stops_where_it_is_and_goes_on_from_there() {
    enclosed("a_pod_that_hibernates_stops_where_it_is_and_goes_on_from_there", || async {
        let lab = Lab::start().await;
        let nodes: kube::Api<Node> = kube::Api::all(lab.client.clone());
        let node = nodes.get("mountlab").await.expect("a node");
        assert!(contract::sleep::keeps_memory(&node), "the node says that it can");
        let mut main = shell("main", COUNTING);
        // the lab's clock may be at its first seconds before the program has begun
        main["startupProbe"] = json!({"exec": {"command": ["test", "-e", "/count"]}, "periodSeconds": 1, "failureThreshold": 10000});
        main["livenessProbe"] = json!({"exec": {"command": ["/bin/sh", "-c", COUNTS_ON]}, "periodSeconds": 1,
            "timeoutSeconds": 1000, "failureThreshold": 1});
        let mut side = shell("side", "while :; do sleep 0.01; done");
        side["restartPolicy"] = json!("Always");
        lab.create(
            "box",
            json!({"initContainers": [side], "containers": [main], "terminationGracePeriodSeconds": 0}),
        )
        .await;
        let before = lab.wait_ready("box").await;
        let root: i32 = process_of(&lab, "main");

        hibernate(&lab, Some("true")).await;
        let asleep = |pod: &Value| condition(pod, types::HIBERNATED) == Some("True");
        let pod = lab.wait_for("box", "asleep", asleep).await;
        let count = counted(root);
        // whoever waits for a stopped child to execute its program can't be stopped itself, and needn't be
        let rests = |root| states(root).iter().all(|state| ['T', 'D'].contains(state));
        assert!(rests(root), "{:?}", states(root));
        assert!(rests(process_of(&lab, "side")), "{:?}", states(process_of(&lab, "side")));
        assert_eq!(
            (condition(&pod, "Ready"), &pod["status"]["reason"]),
            (Some("False"), &json!("Hibernated"))
        );
        assert_eq!(
            (&pod["status"]["phase"], &container(&pod, "main")["ready"]),
            (&json!("Running"), &json!(false))
        );
        let refused =
            lab.node.exec("default", "box", Some("main"), &["true"], LIMIT).await.expect_err("asleep");
        assert!(refused.to_string().contains("hibernates"), "{refused}");
        // probes would fail by now, and the liveness probe would have it started anew
        for _ in 0..20 {
            lab.clock.advance(Duration::from_secs(1));
        }
        assert_eq!(counted(root), count, "nothing was counted meanwhile");

        hibernate(&lab, None).await;
        let awake = lab.wait_ready("box").await;
        assert_eq!(condition(&awake, types::HIBERNATED), None);
        assert_eq!(container(&awake, "main")["containerID"], container(&before, "main")["containerID"]);
        assert_eq!(container(&awake, "main")["restartCount"], 0);
        let more = format!("until [ $(cat /count) -gt {count} ]; do sleep 0.01; done; echo on");
        assert_eq!(lab.run("box", "main", &more).await.trim(), "on");
        let left = lab.run("box", "main", "cut -d ' ' -f 3 /proc/$(cat /stopped)/stat").await;
        assert_eq!(left.trim(), "T", "who was stopped before stays so");
        lab.delete("box").await;
        assert_eq!(lab.node.leftovers().await.expect("an inventory"), []);
    });
}

#[test]
fn a_pod_that_hibernates_can_be_lost_and_deleted() {
    enclosed("a_pod_that_hibernates_can_be_lost_and_deleted", || async {
        let lab = Lab::start().await;
        lab.create("box", json!({"containers": [shell("main", COUNTING)]})).await;
        lab.wait_ready("box").await;
        hibernate(&lab, Some("true")).await;
        let answer =
            |expected: &'static str| move |pod: &Value| condition(pod, types::HIBERNATED) == Some(expected);
        lab.wait_for("box", "asleep", answer("True")).await;
        lab.node.kill("default", "box", "main").await.expect("killed");
        let pod = lab.wait_for("box", "lost", answer("False")).await;
        let conditions = pod["status"]["conditions"].as_array().expect("conditions");
        let told =
            conditions.iter().find(|condition| condition["type"] == types::HIBERNATED).expect("an answer");
        assert!(told["message"].as_str().is_some_and(|text| text.contains("ended")), "{told}");

        // its end takes no grace period: whoever is stopped hears no signal
        hibernate(&lab, None).await;
        let awake = |pod: &Value| {
            condition(pod, types::HIBERNATED).is_none() && condition(pod, "Ready") == Some("True")
        };
        lab.wait_for("box", "awake again", awake).await;
        hibernate(&lab, Some("true")).await;
        lab.wait_for("box", "asleep again", answer("True")).await;
        lab.delete("box").await;
        assert_eq!(lab.node.leftovers().await.expect("an inventory"), []);
    });
}

/// The first process of a container as its node sees it.
fn process_of(lab: &Lab, container: &str) -> i32 {
    let subject = format!("Pod/default/box/{container}");
    let started = lab.journal.entries().into_iter().rev();
    let started = started.filter(|entry| entry.source == "process" && entry.kind == "started");
    let pid =
        started.filter(|entry| entry.subject == subject).find_map(|entry| entry.body["process"].as_i64());
    i32::try_from(pid.expect("it was started")).expect("a process id")
}
