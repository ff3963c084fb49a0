//! Containers' lives: order, restarts, probes, hooks, ends.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use support::{LIMIT, Lab, condition, container, enclosed, shell};

/// Positions in the journal of process entries of a kind, in the order of containers.
fn positions(lab: &Lab, kind: &str, containers: &[&str]) -> Vec<usize> {
    let entries = lab.journal.entries();
    let of = |name: &&str| {
        let subject = format!("Pod/default/box/{name}");
        entries
            .iter()
            .position(|entry| entry.source == "process" && entry.kind == kind && entry.subject == subject)
    };
    containers.iter().map(|name| of(name).unwrap_or_else(|| panic!("{name} never {kind}"))).collect()
}

#[test]
fn init_containers_and_sidecars_start_in_order_and_end_in_reverse() {
    enclosed("init_containers_and_sidecars_start_in_order_and_end_in_reverse", || async {
        let lab = Lab::start().await;
        let mut first = shell("first", "trap 'exit 0' TERM; while :; do sleep 0.01; done");
        first["restartPolicy"] = json!("Always");
        first["startupProbe"] = json!({"exec": {"command": ["test", "-e", "/v/ready"]}, "periodSeconds": 1});
        first["lifecycle"] = json!({"postStart": {"exec": {"command": ["/bin/sh", "-c", "touch /v/ready"]}}});
        let mut second = json!({"name": "second", "image": "i", "restartPolicy": "Always"});
        let prepare = shell("prepare", "test -e /v/ready && echo prepared > /v/prepared");
        let mut main = shell("main", "trap 'exit 0' TERM; cat /v/prepared; while :; do sleep 0.01; done");
        let mut prepare = prepare;
        for part in [&mut first, &mut second, &mut prepare, &mut main] {
            part["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        }
        let spec = json!({
            "initContainers": [first, prepare, second], "containers": [main],
            "volumes": [{"name": "v", "emptyDir": {}}]
        });
        lab.create("box", spec).await;
        let pod = lab.wait_ready("box").await;
        assert_eq!(container(&pod, "prepare")["state"]["terminated"]["reason"], "Completed");
        let started = positions(&lab, "started", &["first", "prepare", "second", "main"]);
        assert!(started.is_sorted(), "{started:?}");
        let mut log = lab.node.log("default", "box", "main", false).expect("a log");
        assert_eq!(log.next().await.expect("lines")[0].text, "prepared");
        lab.delete("box").await;
        let ended = positions(&lab, "exited", &["main", "second", "first"]);
        assert!(ended.is_sorted(), "{ended:?}");
        for expected in ["Scheduled", "Pulled", "Created", "Started", "Killing"] {
            let is_there = |events: &[String]| events.iter().any(|event| event.starts_with(expected));
            lab.wait_events("box", expected, is_there).await;
        }
    });
}

#[test]
fn a_failing_container_is_restarted_with_back_off_on_the_clock() {
    enclosed("a_failing_container_is_restarted_with_back_off_on_the_clock", || async {
        let lab = Lab::start().await;
        lab.create("box", json!({"containers": [shell("main", "echo attempt; exit 3")]})).await;
        let waiting =
            |reason: &'static str| move |status: &Value| status["state"]["waiting"]["reason"] == reason;
        let status = lab.wait_container("box", "main", "backed off", waiting("CrashLoopBackOff")).await;
        assert_eq!(status["restartCount"], 1, "the first restart is immediate");
        assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
        let pod = lab.wait_for("box", "is seen running", |pod| pod["status"]["phase"] == "Running").await;
        assert_eq!(condition(&pod, "Ready"), Some("False"));
        lab.clock.advance(Duration::from_secs(11));
        let again = |status: &Value| {
            status["restartCount"] == 2 && status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        };
        let status = lab.wait_container("box", "main", "backed off again", again).await;
        let message = status["state"]["waiting"]["message"].as_str().expect("a message").to_owned();
        assert!(message.starts_with("back-off 20s restarting failed container=main"), "{message}");
        let mut previous = lab.node.log("default", "box", "main", true).expect("a log");
        assert_eq!(previous.read().iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["attempt"]);
        lab.wait_events("box", "BackOff", |events| events.iter().any(|event| event.starts_with("BackOff")))
            .await;
        lab.delete("box").await;
    });
}

#[test]
fn restart_policies_decide_what_becomes_of_the_pod() {
    enclosed("restart_policies_decide_what_becomes_of_the_pod", || async {
        let lab = Lab::start().await;
        for (name, policy, script, phase) in [
            ("done", "Never", "exit 0", "Succeeded"),
            ("failed", "Never", "exit 1", "Failed"),
            ("once", "OnFailure", "exit 0", "Succeeded"),
        ] {
            let side = json!({"name": "side", "image": "i", "restartPolicy": "Always"});
            let spec = json!({"restartPolicy": policy, "initContainers": [side], "containers": [shell("main", script)]});
            lab.create(name, spec).await;
            let pod = lab.wait_for(name, phase, |pod| pod["status"]["phase"] == phase).await;
            assert_eq!(container(&pod, "main")["restartCount"], 0);
            lab.wait_container(name, "side", "ended", |status| !status["state"]["terminated"].is_null())
                .await;
            lab.delete(name).await;
        }
        let spec = json!({"restartPolicy": "Never", "initContainers": [shell("prepare", "exit 4")], "containers": [shell("main", "true")]});
        lab.create("init", spec).await;
        lab.wait_for("init", "failed", |pod| pod["status"]["phase"] == "Failed").await;
        lab.delete("init").await;
        assert_eq!(lab.node.leftovers().await.expect("an inventory"), []);
    });
}

#[test]
fn the_grace_period_runs_on_the_clock_and_ends_with_a_kill() {
    enclosed("the_grace_period_runs_on_the_clock_and_ends_with_a_kill", || async {
        let lab = Lab::start().await;
        let mut main = shell("main", "trap 'echo deaf' TERM; echo up; while :; do sleep 0.01; done");
        main["lifecycle"] =
            json!({"preStop": {"exec": {"command": ["/bin/sh", "-c", "echo bye > /proc/1/fd/1"]}}});
        lab.create("box", json!({"terminationGracePeriodSeconds": 600, "containers": [main]})).await;
        lab.wait_ready("box").await;
        let mut log = lab.node.log("default", "box", "main", false).expect("a log");
        assert_eq!(log.next().await.expect("a line")[0].text, "up");
        lab.pods().delete("box", &DeleteParams::default()).await.expect("deleted");
        let mut said = Vec::new();
        while said.len() < 2 {
            said.extend(tokio::time::timeout(LIMIT, log.next()).await.expect("in time").expect("lines"));
        }
        assert_eq!(said.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["bye", "deaf"]);
        assert!(lab.pods().get_opt("box").await.expect("an answer").is_some(), "the pod is still ending");
        lab.clock.advance(Duration::from_secs(601));
        lab.wait_for("box", "went away", Value::is_null).await;
        let entries = lab.journal.entries();
        let exit = entries.iter().find(|entry| entry.kind == "exited").expect("an exit");
        assert_eq!((&exit.body["exitCode"], &exit.body["signal"]), (&json!(137), &json!(9)));
    });
}

#[test]
fn probes_decide_about_readiness_and_restarts() {
    enclosed("probes_decide_about_readiness_and_restarts", || async {
        let lab = Lab::start().await;
        let mut main = shell("main", "touch /alive; exec /usr/bin/env sleep 100000");
        main["readinessProbe"] =
            json!({"exec": {"command": ["test", "-e", "/ready"]}, "periodSeconds": 5, "failureThreshold": 1});
        main["livenessProbe"] = json!({"exec": {"command": ["test", "-e", "/alive"]}, "periodSeconds": 5, "failureThreshold": 2, "initialDelaySeconds": 5});
        lab.create("box", json!({"terminationGracePeriodSeconds": 0, "containers": [main]})).await;
        let running = |status: &Value| status["started"] == true && status["ready"] == false;
        lab.wait_container("box", "main", "started", running).await;
        lab.wait_events("box", "Unhealthy", |events| {
            events.iter().any(|e| e.starts_with("Unhealthy Readiness probe failed"))
        })
        .await;
        lab.run("box", "main", "touch /ready").await;
        lab.clock.advance(Duration::from_secs(5));
        lab.wait_ready("box").await;
        lab.run("box", "main", "rm /alive /ready").await;
        for _ in 0..3 {
            lab.clock.advance(Duration::from_secs(5));
            lab.wait_events("box", "Unhealthy", |events| {
                events.iter().any(|e| e.starts_with("Unhealthy Liveness"))
            })
            .await;
        }
        let restarted = |status: &Value| status["restartCount"] == 1 && !status["state"]["running"].is_null();
        lab.wait_container("box", "main", "was restarted", restarted).await;
        let killing = "Killing Container main failed liveness probe, will be restarted";
        lab.wait_events("box", killing, |events| events.iter().any(|event| event == killing)).await;
    });
}

#[test]
fn network_probes_and_hooks() {
    enclosed("network_probes_and_hooks", || async {
        let lab = Lab::start().await;
        let mut web = shell("web", "cd /tmp && echo hi > ok && exec python3 -m http.server 8080");
        web["ports"] = json!([{"name": "http", "containerPort": 8080}]);
        web["startupProbe"] =
            json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 30});
        web["readinessProbe"] = json!({"httpGet": {"path": "/ok", "port": "http"}});
        web["livenessProbe"] = json!({"httpGet": {"path": "/missing", "port": 8080}, "initialDelaySeconds": 1, "failureThreshold": 1000});
        lab.create("box", json!({"containers": [web], "terminationGracePeriodSeconds": 0})).await;
        lab.wait_ready("box").await;
        lab.clock.advance(Duration::from_secs(1));
        let asked = |events: &[String]| {
            events.iter().any(|event| event.ends_with("HTTP probe failed with statuscode: 404"))
        };
        lab.wait_events("box", "a failed liveness probe", asked).await;
    });
}

#[test]
fn a_failing_post_start_hook_kills_the_container() {
    enclosed("a_failing_post_start_hook_kills_the_container", || async {
        let lab = Lab::start().await;
        let hook =
            json!({"postStart": {"exec": {"command": ["/bin/sh", "-c", "echo no envd here >&2; exit 9"]}}});
        let main = json!({"name": "main", "image": "i", "lifecycle": hook});
        lab.create("box", json!({"containers": [main]})).await;
        let event = |events: &[String]| {
            events
                .iter()
                .any(|e| e.starts_with("FailedPostStartHook") && e.contains("exited with 9: no envd here"))
        };
        lab.wait_events("box", "FailedPostStartHook", event).await;
        lab.wait_container("box", "main", "was restarted", |status| status["restartCount"] == 1).await;
    });
}

#[test]
fn images_that_cannot_be_had_keep_the_container_waiting() {
    enclosed("images_that_cannot_be_had_keep_the_container_waiting", || async {
        let lab = Lab::start().await;
        lab.create("box", json!({"containers": [{"name": "main", "image": "registry.invalid/x:1"}]})).await;
        let status = lab
            .wait_container("box", "main", "backed off", |status| {
                status["state"]["waiting"]["reason"] == "ImagePullBackOff"
            })
            .await;
        assert_eq!(status["restartCount"], 0);
        let failed =
            |events: &[String]| events.iter().any(|event| event.starts_with("Failed Error: ErrImagePull"));
        lab.wait_events("box", "Failed", failed).await;
        // The image is replaced by one that exists: no restart is counted, and nobody waits for the back-off's end.
        let patch = json!({"spec": {"containers": [{"name": "main", "image": "python:3"}]}});
        lab.pods().patch("box", &PatchParams::default(), &Patch::Strategic(patch)).await.expect("patched");
        lab.wait_ready("box").await;
        lab.create("bad", json!({"containers": [{"name": "main", "image": "UPPER"}]})).await;
        lab.wait_container("bad", "main", "is invalid", |status| {
            status["state"]["waiting"]["reason"] == "InvalidImageName"
        })
        .await;
    });
}

#[test]
fn a_changed_image_restarts_that_container_only() {
    enclosed("a_changed_image_restarts_that_container_only", || async {
        let lab = Lab::start().await;
        let both = [shell("main", "exec sleep 1000"), shell("other", "exec sleep 1000")];
        lab.create("box", json!({"containers": both, "terminationGracePeriodSeconds": 0})).await;
        let before = lab.wait_ready("box").await;
        let patch = json!({"spec": {"containers": [{"name": "main", "image": "i:2"}]}});
        lab.pods().patch("box", &PatchParams::default(), &Patch::Strategic(patch)).await.expect("patched");
        let replaced = |pod: &Value| {
            container(pod, "main")["restartCount"] == 1 && condition(pod, "Ready") == Some("True")
        };
        let after = lab.wait_for("box", "has the new image", replaced).await;
        assert_eq!(container(&after, "other"), container(&before, "other"));
        assert_ne!(container(&after, "main")["imageID"], container(&before, "main")["imageID"]);
        assert_eq!(container(&after, "main")["image"], "i:2");
        let change = |image: &str| {
            Patch::Strategic(json!({"spec": {"containers": [{"name": "main", "image": image}]}}))
        };
        let bad = change("registry.invalid/i:3");
        lab.pods().patch("box", &PatchParams::default(), &bad).await.expect("patched");
        let held_back = |status: &Value| status["state"]["waiting"]["reason"] == "ImagePullBackOff";
        let waiting = lab.wait_container("box", "main", "waits for its image", held_back).await;
        assert_eq!(waiting["imageID"], container(&after, "main")["imageID"], "the last one that there was");
        lab.pods().patch("box", &PatchParams::default(), &change("i:2")).await.expect("patched");
        let back = |status: &Value| status["restartCount"] == 2 && !status["state"]["running"].is_null();
        lab.wait_container("box", "main", "is back at once, without the back-off's wait", back).await;
    });
}

#[test]
fn other_resources_reach_a_running_container_unless_the_node_lacks_them() {
    enclosed("other_resources_reach_a_running_container_unless_the_node_lacks_them", || async {
        let lab = Lab::start().await;
        let mut main = shell("main", "trap 'exit 0' TERM; while :; do sleep 0.01; done");
        main["resources"] = json!({"requests": {"cpu": "1"}});
        main["resizePolicy"] = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
        lab.create("box", json!({"containers": [main]})).await;
        let before = lab.wait_ready("box").await;
        assert_eq!(container(&before, "main")["resources"], json!({"requests": {"cpu": "1"}}));
        let resize = async |requests: Value| {
            let patch =
                json!({"spec": {"containers": [{"name": "main", "resources": {"requests": requests}}]}});
            let parameters = PatchParams::default();
            lab.pods()
                .patch_subresource("resize", "box", &parameters, &Patch::Strategic(patch))
                .await
                .expect("resized");
        };
        let has =
            |requests: Value| move |pod: &Value| container(pod, "main")["resources"]["requests"] == requests;
        resize(json!({"cpu": "2"})).await;
        let more = lab.wait_for("box", "has more", has(json!({"cpu": "2"}))).await;
        assert_eq!(container(&more, "main")["containerID"], container(&before, "main")["containerID"]);
        resize(json!({"cpu": "65"})).await;
        let pending =
            lab.wait_for("box", "is told", |pod| condition(pod, "PodResizePending") == Some("True")).await;
        assert_eq!(container(&pending, "main")["allocatedResources"], json!({"cpu": "2"}));
        resize(json!({"cpu": "3", "memory": "1Gi"})).await;
        let replaced = |pod: &Value| {
            container(pod, "main")["restartCount"] == 1 && condition(pod, "PodResizePending").is_none()
        };
        let pod = lab.wait_for("box", "was started anew for its memory", replaced).await;
        assert_eq!(container(&pod, "main")["resources"]["requests"], json!({"cpu": "3", "memory": "1Gi"}));
    });
}

#[test]
fn a_killed_sidecar_comes_back() {
    enclosed("a_killed_sidecar_comes_back", || async {
        let lab = Lab::start().await;
        let side = json!({"name": "side", "image": "csi-agent", "restartPolicy": "Always"});
        lab.create("box", json!({"initContainers": [side], "containers": [{"name": "main", "image": "i"}]}))
            .await;
        lab.wait_ready("box").await;
        lab.node.kill("default", "box", "side").await.expect("killed");
        let back = |pod: &Value| {
            container(pod, "side")["restartCount"] == 1 && condition(pod, "Ready") == Some("True")
        };
        let pod = lab.wait_for("box", "has its sidecar back", back).await;
        assert_eq!(container(&pod, "side")["lastState"]["terminated"]["exitCode"], 137);
        assert_eq!(container(&pod, "main")["restartCount"], 0);
        assert_eq!(lab.run("box", "side", "test -x /usr/local/bin/mountlab && echo there").await, "there");
        assert_eq!(lab.try_run("box", "main", "test -e /usr/local/bin/mountlab").await.0, 1);
    });
}

#[test]
fn a_file_system_that_never_answers_does_not_hang_the_pods_end() {
    enclosed("a_file_system_that_never_answers_does_not_hang_the_pods_end", || async {
        assert!(std::fs::exists("/dev/fuse").is_ok_and(|there| there), "this test needs /dev/fuse");
        let lab = Lab::start().await;
        let mounts =
            |propagation: &str| json!([{"name": "v", "mountPath": "/v", "mountPropagation": propagation}]);
        // The sidecar mounts a FUSE file system and never reads a single request.
        let script = "mkdir -p /v/a; exec 3<>/dev/fuse; \
            mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 silent /v/a && echo mounted; \
            trap '' TERM; while :; do sleep 0.1; done";
        let mut side = shell("side", script);
        side["restartPolicy"] = json!("Always");
        side["securityContext"] = json!({"privileged": true});
        side["volumeMounts"] = mounts("Bidirectional");
        let mut main = shell(
            "main",
            "while ! grep -q /v/a /proc/mounts; do sleep 0.01; done; echo looking; exec ls /v/a",
        );
        main["volumeMounts"] = mounts("HostToContainer");
        lab.create(
            "box",
            json!({"initContainers": [side], "containers": [main], "volumes": [{"name": "v", "emptyDir": {}}], "terminationGracePeriodSeconds": 1}),
        )
        .await;
        let seen =
            |entry: &journal::Entry| entry.kind == "mounted" && entry.subject == "Pod/default/box/main:/v/a";
        lab.wait_journal("the silent file system was mounted", seen).await;
        let mut log = lab.node.log("default", "box", "main", false).expect("a log");
        assert_eq!(log.next().await.expect("a line")[0].text, "looking");
        let mounts = lab.node.mounts("default", "box", Some("side")).await.expect("a table");
        assert!(mounts.iter().any(|mount| mount.path == "/v/a" && mount.file_system == "fuse"));
        lab.delete("box").await;
        assert_eq!(lab.node.leftovers().await.expect("an inventory"), []);
    });
}

#[test]
fn last_words_and_programs_that_do_not_exist() {
    enclosed("last_words_and_programs_that_do_not_exist", || async {
        let lab = Lab::start().await;
        let dying = shell("main", "printf 'no space left' > /dev/termination-log; exit 5");
        lab.create("words", json!({"restartPolicy": "Never", "containers": [dying]})).await;
        let pod = lab.wait_for("words", "failed", |pod| pod["status"]["phase"] == "Failed").await;
        let ended = &container(&pod, "main")["state"]["terminated"];
        assert_eq!((&ended["message"], &ended["exitCode"]), (&json!("no space left"), &json!(5)));
        let missing = json!({"name": "main", "image": "i", "command": ["no-such-program"]});
        lab.create("missing", json!({"restartPolicy": "Never", "containers": [missing]})).await;
        let pod = lab.wait_for("missing", "failed", |pod| pod["status"]["phase"] == "Failed").await;
        let ended = &container(&pod, "main")["state"]["terminated"];
        assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("StartError"), &json!(128)));
        let message = ended["message"].as_str().expect("a message");
        assert_eq!(message, "exec: \"no-such-program\": executable file not found in $PATH");
    });
}
