//! A claimed sandbox whose main container is replaced gets its runtime and its mounts back, on the API server of this
//! process and a runtime that only answers (`kubernetes.md` §5.4, D-3, `storage.md` §7.3).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

#[path = "runtime/pausing.rs"]
mod pausing;
mod support;
#[path = "runtime/updating.rs"]
mod updating;

use std::time::Duration;

use contract::conditions::{self, types};
use contract::crd::Sandbox;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;
use support::{LIMIT, Lab, SECRET, mounting, ready_reason, sandbox};
use wiremock::matchers::{body_partial_json, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const TOKEN: &str = "token-0123456789";

/// A claimed sandbox with one mount whose runtime is `runtime`; its main container has the id `first`.
async fn claimed(lab: &Lab, runtime: &MockServer) {
    claimed_on(lab, runtime, None).await;
}

/// The same on that node.
async fn claimed_on(lab: &Lab, runtime: &MockServer, node: Option<&str>) {
    let mut object = sandbox("one", json!({}));
    if let Some(node) = node {
        object["spec"]["template"]["spec"]["nodeName"] = json!(node);
    }
    object["metadata"]["annotations"] = json!({
        "agents.kruise.io/runtime-url": runtime.uri(),
        "agents.kruise.io/runtime-access-token": TOKEN,
        "agents.kruise.io/init-runtime-request": json!({"envVars": {"A": "b"}, "accessToken": TOKEN}).to_string(),
        "e2b.agents.kruise.io/csi-volume-config":
            r#"[{"pvName":"oss-pv","mountPath":"/data","subPath":"sub"}]"#,
    });
    lab.create::<Sandbox>(object).await;
    lab.until::<Pod>("the pod runs", |pods| {
        pods.iter().any(|pod| pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some()))
    })
    .await;
    contain(lab, "first").await;
    until_remembered(lab, "first").await;
}

/// The kubelet tells of the main container.
async fn contain(lab: &Lab, id: &str) {
    let status = json!({"name": "main", "image": "one", "imageID": "", "ready": true, "restartCount": 0,
        "containerID": id, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}});
    let patch = kube::api::Patch::Merge(json!({"status": {"containerStatuses": [status]}}));
    lab.api::<Pod>().patch_status("one", &kube::api::PatchParams::default(), &patch).await.expect("patched");
}

async fn until_remembered(lab: &Lab, id: &str) {
    lab.until::<Sandbox>("the container is remembered", |all| remembered(&all[0]) == Some(id)).await;
}

fn remembered(sandbox: &Sandbox) -> Option<&str> {
    let notes = sandbox.status.as_ref()?.pod_info.as_ref()?.annotations.as_ref()?;
    notes.get("agents.kruise.io/initialized-container").map(String::as_str)
}

fn initialized(sandbox: &Sandbox) -> Option<(&str, &str, &str)> {
    let condition = conditions::find(&sandbox.status.as_ref()?.conditions, types::RUNTIME_INITIALIZED)?;
    Some((&condition.status, &condition.reason, &condition.message))
}

fn is_ready(sandbox: &Sandbox) -> bool {
    sandbox.status.as_ref().is_some_and(|status| conditions::is_true(&status.conditions, types::READY))
}

#[tokio::test]
async fn a_replaced_container_gets_token_environment_and_mounts_before_the_sandbox_is_ready() {
    let lab = Lab::new().await;
    let runtime = MockServer::start().await;
    lab.secret_and_volume().await;
    claimed(&lab, &runtime).await;
    assert_eq!(runtime.received_requests().await.map(|all| all.len()), Some(0), "the first is the claim's");
    Mock::given(method("POST"))
        .and(path("/init"))
        .and(header("x-access-token", TOKEN))
        .and(body_partial_json(json!({"envVars": {"A": "b"}, "accessToken": TOKEN})))
        .respond_with(ResponseTemplate::new(204))
        .expect(1)
        .mount(&runtime)
        .await;
    let wanted = json!({"driver": "ossplugin.csi.alibabacloud.com", "publishRequest": {
        "targetPath": "/data", "volumeContext": {"bucket": "demo", "path": "/sub"}, "secrets": {"akSecret": SECRET},
    }});
    let done = ResponseTemplate::new(200)
        .set_body_json(json!({"success": true}))
        .set_delay(Duration::from_millis(300));
    Mock::given(method("POST"))
        .and(path("/v1/storage/mounts"))
        .and(header("x-access-token", TOKEN))
        .and(body_partial_json(wanted))
        .respond_with(done)
        .expect(1)
        .mount(&runtime)
        .await;

    contain(&lab, "second").await;
    let held = lab
        .until::<Sandbox>("it is held", |all| {
            ready_reason(&all[0]).as_deref() == Some("RuntimeNotInitialized")
        })
        .await;
    assert_eq!(initialized(&held[0]), Some(("False", "Pending", "")));
    assert_eq!(remembered(&held[0]), Some("first"));
    let ready = lab.until::<Sandbox>("ready again", |all| is_ready(&all[0])).await;
    assert_eq!(initialized(&ready[0]), Some(("True", "Succeeded", "")));
    assert_eq!(remembered(&ready[0]), Some("second"));
    assert!(lab.event("RuntimeInitialized").await.contains("initialised again"));
    runtime.verify().await;
}

#[tokio::test]
async fn a_runtime_that_knows_somebody_already_counts_as_initialised() {
    let lab = Lab::new().await;
    let runtime = MockServer::start().await;
    lab.secret_and_volume().await;
    claimed(&lab, &runtime).await;
    Mock::given(path("/init")).respond_with(ResponseTemplate::new(401)).mount(&runtime).await;
    mounting(ResponseTemplate::new(200).set_body_json(json!({"success": true}))).mount(&runtime).await;
    contain(&lab, "second").await;
    until_remembered(&lab, "second").await;
}

#[tokio::test]
async fn what_fails_is_told_and_tried_again_with_the_volume_as_it_is_then() {
    let lab = Lab::new().await;
    let runtime = MockServer::start().await;
    lab.secret().await;
    claimed(&lab, &runtime).await;
    Mock::given(path("/init")).respond_with(ResponseTemplate::new(204)).mount(&runtime).await;
    contain(&lab, "second").await;
    let failed = lab
        .until::<Sandbox>("it says why", |all| {
            initialized(&all[0]).is_some_and(|(_, reason, _)| reason == "Failed")
        })
        .await;
    let message = "failed to get persistent volume object by name oss-pv: there is no such PersistentVolume";
    assert!(initialized(&failed[0]).is_some_and(|(_, _, text)| text.contains(message)), "{failed:?}");
    assert!(lab.event("RuntimeInitializeFailed").await.contains(message));
    assert!(!is_ready(&failed[0]));

    mounting(
        ResponseTemplate::new(200)
            .set_body_json(json!({"success": false, "message": format!("bad key {SECRET}")})),
    )
    .up_to_n_times(1)
    .mount(&runtime)
    .await;
    mounting(ResponseTemplate::new(200).set_body_json(json!({"success": true}))).mount(&runtime).await;
    lab.volume("demo").await;
    let refused = lab
        .sandbox_with_time("the driver's reason", |sandbox| {
            initialized(sandbox).is_some_and(|(_, _, text)| text.contains("bad key"))
        })
        .await;
    assert!(!serde_json::to_string(&refused).expect("JSON").contains(SECRET));
    let ready = lab.sandbox_with_time("ready again", is_ready).await;
    assert_eq!(initialized(&ready), Some(("True", "Succeeded", "")));
}

#[tokio::test]
async fn a_new_controller_neither_misses_a_replaced_container_nor_does_one_twice() {
    let mut lab = Lab::bare().await;
    let first = lab.start_controller();
    lab.start_kubelet();
    let runtime = MockServer::start().await;
    lab.secret_and_volume().await;
    claimed(&lab, &runtime).await;
    first.abort();
    contain(&lab, "second").await;
    Mock::given(path("/init")).respond_with(ResponseTemplate::new(204)).expect(1).mount(&runtime).await;
    mounting(ResponseTemplate::new(200).set_body_json(json!({"success": true})))
        .expect(1)
        .mount(&runtime)
        .await;
    let second = lab.start_controller();
    until_remembered(&lab, "second").await;
    second.abort();
    lab.start_controller();
    // it has looked at this sandbox when it has made the pod of a later one
    lab.create::<Sandbox>(sandbox("two", json!({}))).await;
    lab.until::<Sandbox>("both are ready", |all| all.len() == 2 && all.iter().all(is_ready)).await;
    runtime.verify().await;
}

#[tokio::test]
async fn with_certificates_a_runtime_is_said_to_serve_tls_before_its_pod_is_made() {
    let mut lab = Lab::bare().await;
    lab.start_controller_with(|options| options.runtime_certificates = Some(support::certificates()));
    lab.start_kubelet();
    lab.create::<Sandbox>(sandbox("one", json!({"runtimes": [{"name": "agent-runtime"}]}))).await;
    lab.create::<Sandbox>(sandbox("two", json!({}))).await;
    let all = lab.until::<Sandbox>("both run", |all| all.len() == 2 && all.iter().all(is_ready)).await;
    let port = |sandbox: &Sandbox| {
        sandbox
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get("agents.kruise.io/runtime-tls-port").cloned())
    };
    assert_eq!((port(&all[0]).as_deref(), port(&all[1]).as_deref()), (Some("49984"), None));
}

#[tokio::test]
async fn a_sandbox_that_goes_takes_its_attempt_with_it() {
    let lab = Lab::new().await;
    let runtime = MockServer::start().await;
    lab.secret_and_volume().await;
    claimed(&lab, &runtime).await;
    Mock::given(path("/init")).respond_with(ResponseTemplate::new(204)).mount(&runtime).await;
    mounting(ResponseTemplate::new(200).set_delay(LIMIT * 3)).mount(&runtime).await;
    contain(&lab, "second").await;
    lab.until::<Sandbox>("it is held", |all| !is_ready(&all[0])).await;
    lab.api::<Sandbox>().delete("one", &DeleteParams::default()).await.expect("deleted");
    lab.until::<Sandbox>("gone", <[Sandbox]>::is_empty).await;
    lab.until::<Pod>("its pod too", <[Pod]>::is_empty).await;
}
