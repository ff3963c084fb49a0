//! Pause and wake-up of a claimed sandbox (`kubernetes.md` §5.6, §5.7, `storage.md` §7).

use contract::resolve::DriverList;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::{Api, ResourceExt as _};
use wiremock::MockServer;

use super::*;
use crate::support::{phase, willing_runtime};

async fn pause(lab: &Lab) {
    lab.merge::<Sandbox>("one", json!({"spec": {"paused": true}})).await;
}

async fn wake(lab: &Lab) {
    lab.merge::<Sandbox>("one", json!({"spec": {"paused": false}})).await;
}

fn condition<'a>(sandbox: &'a Sandbox, kind: &str) -> Option<(&'a str, &'a str)> {
    let condition = conditions::find(&sandbox.status.as_ref()?.conditions, kind)?;
    Some((&condition.status, &condition.reason))
}

async fn until_paused(lab: &Lab) -> Sandbox {
    lab.until::<Sandbox>("the pause is complete", |all| {
        condition(&all[0], types::SANDBOX_PAUSED) == Some(("True", "StopPauseSucceed"))
    })
    .await[0]
        .clone()
}

/// A claimed sandbox with an OSS volume, paused; and the pod that it had.
async fn asleep(lab: &Lab, runtime: &MockServer) -> (Pod, Sandbox) {
    lab.secret_and_volume().await;
    claimed(lab, runtime).await;
    let pod = lab.api::<Pod>().get("one").await.expect("a pod");
    pause(lab).await;
    (pod, until_paused(lab).await)
}

async fn new_pod(lab: &Lab, old: Option<&String>) -> Pod {
    lab.until::<Pod>("another pod runs", |pods| {
        pods.iter().any(|pod| {
            pod.metadata.uid.as_ref() != old
                && pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some())
        })
    })
    .await[0]
        .clone()
}

#[tokio::test]
async fn a_paused_sandbox_wakes_up_in_a_new_pod_of_the_template_of_now_with_its_mounts() {
    let lab = Lab::new().await;
    let runtime = willing_runtime().await;
    let (old, paused) = asleep(&lab, &runtime).await;
    assert_eq!((phase(&paused).as_str(), is_ready(&paused)), ("Paused", false));
    assert_eq!(paused.finalizers(), ["agents.kruise.io/sandbox"]);
    assert!(lab.api::<Pod>().get_opt("one").await.expect("an answer").is_none());
    assert_eq!(runtime.received_requests().await.map(|all| all.len()), Some(0));

    let relabelled = json!({"metadata": {"labels": {"made": "later"}}});
    lab.merge::<Sandbox>("one", json!({"spec": {"template": relabelled}})).await;
    wake(&lab).await;
    let pod = new_pod(&lab, old.metadata.uid.as_ref()).await;
    assert_eq!(pod.labels()["made"], "later");
    let waking = lab
        .until::<Sandbox>("held", |all| ready_reason(&all[0]).as_deref() == Some("RuntimeNotInitialized"))
        .await;
    assert_eq!(condition(&waking[0], types::SANDBOX_RESUMED), Some(("True", "ResumePod")));
    assert_eq!(initialized(&waking[0]), Some(("False", "Pending", "")));
    contain(&lab, "first").await;
    let woken = lab.until::<Sandbox>("ready", |all| is_ready(&all[0])).await[0].clone();
    assert_eq!(initialized(&woken), Some(("True", "Succeeded", "")), "even with the id of before");
    assert_eq!(woken.status.clone().and_then(|status| status.sandbox_ip), pod.status.and_then(|s| s.pod_ip));
    let asked = runtime.received_requests().await.expect("recorded");
    let paths: Vec<_> = asked.iter().map(|request| request.url.path().to_owned()).collect();
    assert_eq!(paths, ["/init", "/v1/storage/mounts"]);
    lab.until::<Sandbox>("the finalizer goes", |all| all[0].finalizers().is_empty()).await;
    for reason in ["SandboxPaused", "SandboxResuming", "RuntimeInitialized"] {
        lab.event(reason).await;
    }
}

#[tokio::test]
async fn a_volume_that_went_while_paused_keeps_the_sandbox_from_being_ready_until_it_is_back() {
    let lab = Lab::new().await;
    let runtime = willing_runtime().await;
    let (old, _) = asleep(&lab, &runtime).await;
    let volumes: Api<PersistentVolume> = Api::all(lab.client.clone());
    volumes.delete("oss-pv", &DeleteParams::default()).await.expect("deleted");
    wake(&lab).await;
    new_pod(&lab, old.metadata.uid.as_ref()).await;
    contain(&lab, "second").await;
    let words = "there is no such PersistentVolume";
    assert!(lab.event("RuntimeInitializeFailed").await.contains(words));
    let failed = lab
        .until::<Sandbox>("it says why", |all| {
            initialized(&all[0]).is_some_and(|(_, reason, text)| reason == "Failed" && text.contains(words))
        })
        .await;
    assert!(!is_ready(&failed[0]));
    lab.volume("demo").await;
    lab.sandbox_with_time("ready", is_ready).await;
}

#[tokio::test]
async fn a_driver_that_the_controller_may_not_use_keeps_a_woken_sandbox_from_being_ready() {
    let mut lab = Lab::bare().await;
    let first = lab.start_controller();
    lab.start_kubelet();
    let runtime = willing_runtime().await;
    let (old, _) = asleep(&lab, &runtime).await;
    first.abort();
    // as an operator would who lists drivers on the manager and forgets one on the controller
    let second = lab.start_controller_with(|options| {
        options.drivers = DriverList::from_variable(Some("nasplugin.csi.alibabacloud.com"));
    });
    wake(&lab).await;
    new_pod(&lab, old.metadata.uid.as_ref()).await;
    contain(&lab, "second").await;
    let told = lab.event("RuntimeInitializeFailed").await;
    assert!(told.contains("ossplugin.csi.alibabacloud.com"), "{told}");
    let failed = lab
        .until::<Sandbox>("it says why", |all| {
            initialized(&all[0]).is_some_and(|(_, reason, text)| {
                reason == "Failed" && text.contains("driver ossplugin.csi.alibabacloud.com is not supported")
            })
        })
        .await;
    assert!(!is_ready(&failed[0]));
    let asked = runtime.received_requests().await.expect("recorded");
    assert!(asked.iter().all(|request| request.url.path() != "/v1/storage/mounts"), "no mount was tried");
    second.abort();
    lab.start_controller_with(|options| options.drivers = DriverList::from_variable(None));
    let ready = lab.sandbox_with_time("ready without any list", is_ready).await;
    assert_eq!(initialized(&ready), Some(("True", "Succeeded", "")));
}

#[tokio::test]
async fn a_sandbox_with_nas_keeps_running_whatever_asks_for_a_pause() {
    let lab = Lab::new().await;
    let runtime = willing_runtime().await;
    lab.secret().await;
    lab.volume_of("nasplugin.csi.alibabacloud.com", "demo").await;
    claimed(&lab, &runtime).await;
    let pod = lab.api::<Pod>().get("one").await.expect("a pod");
    pause(&lab).await;
    assert!(lab.event("StorageNotHibernatable").await.contains("oss-pv at /data is NAS storage"));
    let refused = lab
        .until::<Sandbox>("the condition says so", |all| {
            condition(&all[0], types::SANDBOX_PAUSED) == Some(("False", "StorageNotHibernatable"))
        })
        .await;
    assert!(refused[0].spec.paused && phase(&refused[0]) == "Running");
    wake(&lab).await;
    lab.until::<Sandbox>("cleared", |all| condition(&all[0], types::SANDBOX_PAUSED).is_none()).await;

    let deadline = clock::Clock::now(&lab.clock) + SignedDuration::from_secs(300);
    lab.merge::<Sandbox>("one", json!({"spec": {"pauseTime": deadline.to_string()}})).await;
    lab.clock.advance(Duration::from_secs(301));
    let due = lab
        .until::<Sandbox>("the automatic pause is refused", |all| {
            condition(&all[0], types::SANDBOX_PAUSED) == Some(("False", "StorageNotHibernatable"))
        })
        .await;
    assert!(!due[0].spec.paused && is_ready(&due[0]));
    let same = lab.api::<Pod>().get("one").await.expect("the pod");
    assert_eq!((same.uid(), same.metadata.deletion_timestamp), (pod.uid(), None));
}

#[tokio::test]
async fn the_automatic_pause_and_the_end_of_the_retention_follow_the_injected_clock() {
    let lab = Lab::new().await;
    let now = clock::Clock::now(&lab.clock);
    let at = |seconds| (now + SignedDuration::from_secs(seconds)).to_string();
    let mut object = sandbox("one", json!({"pauseTime": at(300), "shutdownTime": at(400)}));
    object["metadata"]["annotations"] = json!({"agents.kruise.io/reserve-paused-sandbox-duration": "1h"});
    lab.create::<Sandbox>(object).await;
    lab.until::<Sandbox>("running", |all| phase(&all[0]) == "Running").await;
    lab.clock.advance(Duration::from_secs(301));
    let paused = until_paused(&lab).await;
    let end = paused.spec.shutdown_time.clone().expect("an end");
    assert_eq!(paused.spec.pause_time, Some(end.clone()));
    assert!((3600..3700).contains(&end.0.duration_since(now + SignedDuration::from_secs(300)).as_secs()));
    lab.clock.advance(Duration::from_secs(3700));
    lab.until::<Sandbox>("gone", <[Sandbox]>::is_empty).await;
}

#[tokio::test]
async fn a_new_controller_goes_on_with_a_pause_and_with_a_wake_up() {
    let mut lab = Lab::bare().await;
    let first = lab.start_controller();
    lab.start_kubelet();
    lab.create::<Sandbox>(sandbox("one", json!({}))).await;
    lab.until::<Sandbox>("running", |all| all.iter().any(is_ready)).await;
    first.abort();
    // what the first one wrote down before it ended, half-way through a pause
    let status = json!({"status": {"phase": "Paused", "conditions": [
        {"type": "SandboxPaused", "status": "False", "reason": "Pending", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]}});
    pause(&lab).await;
    let patch = kube::api::Patch::Merge(status);
    lab.api::<Sandbox>()
        .patch_status("one", &kube::api::PatchParams::default(), &patch)
        .await
        .expect("patched");
    let second = lab.start_controller();
    until_paused(&lab).await;
    lab.until::<Pod>("the pod is gone", <[Pod]>::is_empty).await;
    second.abort();
    wake(&lab).await;
    lab.start_controller();
    lab.until::<Sandbox>("ready again", |all| is_ready(&all[0]) && all[0].finalizers().is_empty()).await;
}

/// What the node of a pod says of its sleep; nothing once it is awake.
async fn answer_sleep(lab: &Lab, answer: Option<&str>) {
    let ready = json!({"type": "Ready", "status": if answer == Some("True") { "False" } else { "True" }});
    let answer =
        answer.map(|status| json!({"type": types::HIBERNATED, "status": status, "message": "said the node"}));
    let conditions: Vec<_> = [Some(ready), answer].into_iter().flatten().collect();
    let patch = kube::api::Patch::Merge(json!({"status": {"conditions": conditions}}));
    lab.api::<Pod>().patch_status("one", &kube::api::PatchParams::default(), &patch).await.expect("patched");
}

async fn until_wanted(lab: &Lab, asleep: bool) {
    lab.until::<Pod>("the node is told", |pods| {
        pods.iter().any(|pod| contract::sleep::is_wanted(pod) == asleep)
    })
    .await;
}

/// A runtime that unmounts too.
async fn unmounting_runtime() -> MockServer {
    let runtime = willing_runtime().await;
    let unmount = json!({"driver": "ossplugin.csi.alibabacloud.com", "keepLink": true,
        "unpublishRequest": {"targetPath": "/data"}});
    Mock::given(method("POST"))
        .and(path("/v1/storage/unmounts"))
        .and(header("x-access-token", TOKEN))
        .and(body_partial_json(unmount))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"success": true})))
        .mount(&runtime)
        .await;
    runtime
}

/// A claimed sandbox with an OSS volume on a node that keeps memory; the pause was asked for.
async fn dozing(lab: &Lab, runtime: &MockServer) -> Pod {
    let node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "keeper", "labels": {"mountlab.dev/hibernation": "memory"}}});
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(lab.client.clone());
    let node = serde_json::from_value(node).expect("a node");
    nodes.create(&kube::api::PostParams::default(), &node).await.expect("created");
    lab.secret_and_volume().await;
    claimed_on(lab, runtime, Some("keeper")).await;
    pause(lab).await;
    until_wanted(lab, true).await;
    lab.api::<Pod>().get("one").await.expect("a pod")
}

async fn asked(runtime: &MockServer) -> Vec<String> {
    let all = runtime.received_requests().await.expect("recorded");
    all.iter().map(|request| request.url.path().to_owned()).collect()
}

#[tokio::test]
async fn where_the_node_keeps_memory_the_same_pod_wakes_up_and_is_mounted_anew() {
    let mut lab = Lab::bare().await;
    let first = lab.start_controller();
    lab.start_kubelet();
    let runtime = unmounting_runtime().await;
    let pod = dozing(&lab, &runtime).await;
    assert_eq!(asked(&runtime).await, ["/v1/storage/unmounts"], "before the node is told");
    // whoever goes on knows from the pod how far it is
    first.abort();
    let second = lab.start_controller();
    answer_sleep(&lab, Some("True")).await;
    let paused = until_paused(&lab).await;
    assert_eq!((phase(&paused).as_str(), is_ready(&paused)), ("Paused", false));
    second.abort();
    lab.start_controller();
    wake(&lab).await;
    until_wanted(&lab, false).await;
    answer_sleep(&lab, None).await;
    let woken =
        lab.until::<Sandbox>("ready", |all| is_ready(&all[0]) && all[0].finalizers().is_empty()).await[0]
            .clone();
    assert_eq!(initialized(&woken), Some(("True", "Succeeded", "")), "with the container of before");
    assert_eq!(asked(&runtime).await, ["/v1/storage/unmounts", "/init", "/v1/storage/mounts"]);
    let same = lab.api::<Pod>().get("one").await.expect("the pod");
    assert_eq!((same.uid(), same.metadata.deletion_timestamp), (pod.uid(), None));
    assert!(lab.events("MemoryNotKept").await.is_empty());

    // and so it goes a second time: what was unmounted then is mounted now
    pause(&lab).await;
    until_wanted(&lab, true).await;
    assert_eq!(asked(&runtime).await.last().map(String::as_str), Some("/v1/storage/unmounts"));
    answer_sleep(&lab, Some("True")).await;
    until_paused(&lab).await;
    wake(&lab).await;
    until_wanted(&lab, false).await;
    answer_sleep(&lab, None).await;
    lab.until::<Sandbox>("ready once more", |all| is_ready(&all[0])).await;
    assert_eq!(asked(&runtime).await.last().map(String::as_str), Some("/v1/storage/mounts"));
}

#[tokio::test]
async fn a_pod_that_its_node_could_not_keep_or_that_is_gone_is_made_anew() {
    let lab = Lab::new().await;
    let runtime = unmounting_runtime().await;
    let pod = dozing(&lab, &runtime).await;
    answer_sleep(&lab, Some("False")).await;
    assert!(lab.event("MemoryNotKept").await.contains("said the node"));
    until_paused(&lab).await;
    lab.until::<Pod>("the pod is gone", <[Pod]>::is_empty).await;
    wake(&lab).await;
    let second = new_pod(&lab, pod.metadata.uid.as_ref()).await;
    contain(&lab, "second").await;
    lab.until::<Sandbox>("ready", |all| is_ready(&all[0])).await;

    pause(&lab).await;
    until_wanted(&lab, true).await;
    answer_sleep(&lab, Some("True")).await;
    until_paused(&lab).await;
    lab.api::<Pod>().delete("one", &DeleteParams::default()).await.expect("deleted by hand");
    lab.until::<Pod>("the pod is gone", <[Pod]>::is_empty).await;
    wake(&lab).await;
    new_pod(&lab, second.metadata.uid.as_ref()).await;
    contain(&lab, "third").await;
    lab.until::<Sandbox>("ready again", |all| is_ready(&all[0])).await;
}
