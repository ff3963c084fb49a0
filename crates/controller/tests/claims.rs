//! `SandboxClaims` on the API server of this process, with a runtime that only answers (`kubernetes.md` §7.1, R67, R68).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

mod support;

use std::time::Duration;

use contract::conditions::{self, types};
use contract::crd::{ClaimPhase, Sandbox, SandboxClaim, SandboxSet};
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use rstest::rstest;
use serde_json::{Value, json};
use support::{Lab, SECRET, mounting, willing_runtime};
use wiremock::matchers::{body_partial_json, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A set whose sandboxes' runtime is `runtime`, with that many of them available.
async fn pool(lab: &Lab, runtime: &MockServer, replicas: i32) {
    let mut set = support::plain_set("pool", replicas);
    set["spec"]["runtimes"] = json!([{"name": "csi"}, {"name": "agent-runtime"}]);
    lab.runtime_at(runtime.uri());
    lab.create::<SandboxSet>(set).await;
    lab.available("pool", replicas).await;
}

async fn claim(lab: &Lab, spec: Value) {
    let mut all = json!({"templateName": "pool"});
    for (key, value) in spec.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    let claim = json!({
        "apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxClaim", "metadata": {"name": "claim"}, "spec": all,
    });
    lab.create::<SandboxClaim>(claim).await;
}

fn mounts() -> Value {
    json!([
        {"pvName": "oss-pv", "mountPath": "/data", "subPath": "sub", "readOnly": true},
        {"pvName": "oss-pv", "mountPath": "/other"},
    ])
}

/// The claim once it is complete: reason and message.
async fn completed(lab: &Lab) -> (String, String) {
    outcome(&lab.until::<SandboxClaim>("complete", |all| phase(&all[0]) == Some(ClaimPhase::Completed)).await)
}

/// The same, while time goes on, ten times as fast as outside.
async fn completed_with_time(lab: &Lab) -> (String, String) {
    let is_complete = |all: &[SandboxClaim]| phase(&all[0]) == Some(ClaimPhase::Completed);
    outcome(&lab.until_with_time::<SandboxClaim>("complete", is_complete).await)
}

fn outcome(claims: &[SandboxClaim]) -> (String, String) {
    let status = claims[0].status.clone().expect("a status");
    let reason =
        conditions::find(&status.conditions, types::COMPLETED).map(|condition| condition.reason.clone());
    (reason.unwrap_or_default(), status.message.unwrap_or_default())
}

fn phase(claim: &SandboxClaim) -> Option<ClaimPhase> {
    claim.status.as_ref()?.phase
}

fn message(claim: &SandboxClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.message.as_deref()).unwrap_or_default()
}

async fn taken(lab: &Lab) -> Vec<Sandbox> {
    let labels = ListParams::default().labels("agents.kruise.io/sandbox-claimed=true");
    lab.api::<Sandbox>().list(&labels).await.expect("a list").items
}

#[tokio::test]
async fn a_claim_takes_sandboxes_hands_over_what_it_says_and_leaves_them_when_it_goes() {
    let lab = Lab::new().await;
    let runtime = MockServer::start().await;
    lab.secret_and_volume().await;
    Mock::given(path("/init"))
        .and(body_partial_json(json!({"envVars": {"MODE": "test"}})))
        .respond_with(ResponseTemplate::new(204))
        .expect(2)
        .mount(&runtime)
        .await;
    for (target, directory, mode) in
        [("/data", Some("/sub"), "SINGLE_NODE_READER_ONLY"), ("/other", None, "SINGLE_NODE_WRITER")]
    {
        let mut request = json!({
            "targetPath": target, "secrets": {"akSecret": SECRET},
            "volumeCapability": {"accessMode": {"mode": mode}},
        });
        if let Some(directory) = directory {
            request["volumeContext"] = json!({"path": directory});
        }
        Mock::given(path("/v1/storage/mounts"))
            .and(body_partial_json(json!({"publishRequest": request})))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({"success": true})))
            .expect(2)
            .mount(&runtime)
            .await;
    }
    pool(&lab, &runtime, 3).await;
    let deadline = "2100-01-01T00:00:00Z";
    claim(
        &lab,
        json!({
            "replicas": 2, "dynamicVolumesMount": mounts(), "envVars": {"MODE": "test"}, "shutdownTime": deadline,
            "labels": {"team": "red"}, "annotations": {"note": "kept", "agents.kruise.io/internal": "too"},
        }),
    )
    .await;
    assert_eq!(completed(&lab).await, ("AllReplicasClaimed".to_owned(), "Completed: 2/2 claimed".to_owned()));
    runtime.verify().await;
    let claim = lab.api::<SandboxClaim>().get("claim").await.expect("there");
    assert_eq!(claim.status.as_ref().and_then(|status| status.claimed_replicas), Some(2));
    assert!(lab.event("SandboxClaimed").await.contains("/2 sandboxes of pool"));
    assert_eq!(lab.event("ClaimCompleted").await, "Completed: 2/2 claimed");

    let sandboxes = taken(&lab).await;
    assert_eq!(sandboxes.len(), 2);
    for sandbox in &sandboxes {
        let (labels, notes) = (sandbox.labels(), sandbox.annotations());
        assert!(sandbox.owner_references().is_empty());
        assert_eq!(
            (labels["agents.kruise.io/claim-name"].as_str(), labels["team"].as_str()),
            ("claim", "red")
        );
        assert_eq!(
            (&notes["agents.kruise.io/owner"], notes["note"].as_str()),
            (&claim.uid().expect("a UID"), "kept")
        );
        assert!(!notes.contains_key("agents.kruise.io/claim-unacknowledged-until"));
        assert_eq!(
            notes["e2b.agents.kruise.io/csi-volume-config"],
            r#"[{"pvName":"oss-pv","mountPath":"/data","subPath":"sub","readOnly":true},{"pvName":"oss-pv","mountPath":"/other"}]"#
        );
        let pods = &sandbox.spec.template.as_ref().expect("a template")["metadata"];
        assert_eq!((&pods["labels"]["team"], &pods["annotations"]["note"]), (&json!("red"), &json!("kept")));
        assert!(pods["annotations"].get("agents.kruise.io/internal").is_none());
        assert_eq!(
            sandbox.spec.shutdown_time.as_ref().map(|time| time.0.to_string()).as_deref(),
            Some(deadline)
        );
    }
    lab.available("pool", 3).await;
    lab.api::<SandboxClaim>().delete("claim", &DeleteParams::default()).await.expect("deleted");
    lab.until::<SandboxClaim>("gone", <[SandboxClaim]>::is_empty).await;
    assert_eq!(taken(&lab).await.len(), 2);
    let volumes: Api<PersistentVolume> = Api::all(lab.client.clone());
    assert!(volumes.get_opt("oss-pv").await.expect("an answer").is_some());
}

#[rstest]
#[case::unknown_volume(
    json!({"dynamicVolumesMount": [{"pvName": "nope", "mountPath": "/data"}]}),
    "failed to get persistent volume object by name nope"
)]
#[case::bad_path(json!({"dynamicVolumesMount": [{"pvName": "oss-pv", "mountPath": "data/.."}]}), "dynamicVolumesMount[0].mountPath")]
#[case::nested(
    json!({"dynamicVolumesMount": [{"pvName": "oss-pv", "mountPath": "/a"}, {"pvName": "oss-pv", "mountPath": "/a/b"}]}),
    "the mount path /a/b is inside the mount path /a"
)]
#[case::escaping_sub_path(json!({"dynamicVolumesMount": [{"pvName": "oss-pv", "mountPath": "/a", "subPath": "../b"}]}), "path")]
#[case::without_runtime(json!({"dynamicVolumesMount": mounts(), "skipInitRuntime": true}), "skipInitRuntime is true")]
#[case::label(json!({"labels": {"agents.kruise.io/sandbox-id": "x"}}), "agents.kruise.io/sandbox-id can't be given")]
#[case::annotation(
    json!({"annotations": {"e2b.agents.kruise.io/csi-volume-config": "[]"}}),
    "instead of e2b.agents.kruise.io/csi-volume-config use dynamicVolumesMount"
)]
#[tokio::test]
async fn what_can_be_checked_is_told_before_a_sandbox_is_taken(#[case] spec: Value, #[case] cause: &str) {
    let lab = Lab::new().await;
    let runtime = willing_runtime().await;
    lab.secret_and_volume().await;
    pool(&lab, &runtime, 1).await;
    claim(&lab, spec).await;
    lab.until::<SandboxClaim>("the cause is told", |all| message(&all[0]).contains(cause)).await;
    assert!(lab.event("ClaimFailed").await.contains(cause));
    let (reason, message) = completed_with_time(&lab).await;
    assert_eq!(reason, "TimeoutReached");
    assert!(
        message.starts_with("Completed: 0/1 claimed; claimTimeout of 1m is over: ")
            && message.contains(cause)
    );
    assert!(taken(&lab).await.is_empty());
    assert_eq!(runtime.received_requests().await.map(|all| all.len()), Some(0));
    assert_eq!(lab.events("NoAvailableSandboxes").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_cause_that_is_mended_in_time_is_no_failure() {
    let lab = Lab::new().await;
    let runtime = willing_runtime().await;
    lab.secret().await;
    pool(&lab, &runtime, 1).await;
    claim(&lab, json!({"dynamicVolumesMount": mounts(), "claimTimeout": "1h"})).await;
    lab.until::<SandboxClaim>("the cause is told", |all| message(&all[0]).contains("oss-pv")).await;
    lab.volume("demo").await;
    assert_eq!(completed_with_time(&lab).await.0, "AllReplicasClaimed");
}

#[tokio::test]
async fn another_image_is_there_before_the_claim_initialises_the_runtime_and_only_the_claim_does() {
    let lab = Lab::new().await;
    let runtime = willing_runtime().await;
    pool(&lab, &runtime, 1).await;
    claim(&lab, json!({"inplaceUpdate": {"image": "two"}})).await;
    let is_updated =
        |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.containers[0].image.as_deref() == Some("two"));
    let pods = lab.until::<Pod>("the pod is updated", |pods| pods.iter().any(is_updated)).await;
    let pod = pods.iter().find(|pod| is_updated(pod)).expect("just seen");
    assert_eq!(runtime.received_requests().await.map(|all| all.len()), Some(0));
    let container = json!({"name": "main", "image": "two", "imageID": "two", "ready": true, "restartCount": 1,
        "containerID": "new", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}});
    let patch = Patch::Merge(json!({"status": {"containerStatuses": [container]}}));
    lab.api::<Pod>().patch_status(&pod.name_any(), &PatchParams::default(), &patch).await.expect("patched");
    assert_eq!(completed(&lab).await, ("AllReplicasClaimed".to_owned(), "Completed: 1/1 claimed".to_owned()));
    assert_eq!(runtime.received_requests().await.map(|all| all.len()), Some(1));
    let sandbox = taken(&lab).await.remove(0);
    let known = sandbox.status.and_then(|status| status.pod_info).and_then(|info| info.annotations);
    assert_eq!(known.expect("notes")["agents.kruise.io/initialized-container"], "new");
}

#[tokio::test]
async fn a_refused_mount_ends_the_claim_and_costs_one_sandbox() {
    let lab = Lab::new().await;
    let runtime = MockServer::start().await;
    Mock::given(path("/init")).respond_with(ResponseTemplate::new(204)).mount(&runtime).await;
    let refusal =
        json!({"success": false, "message": format!("Invalid Credentials {SECRET}"), "code": "Internal"});
    mounting(ResponseTemplate::new(200).set_body_json(refusal)).expect(1).mount(&runtime).await;
    lab.secret_and_volume().await;
    pool(&lab, &runtime, 2).await;
    claim(&lab, json!({"dynamicVolumesMount": [{"pvName": "oss-pv", "mountPath": "/data"}]})).await;
    let (reason, message) = completed(&lab).await;
    assert_eq!(reason, "ClaimFailed");
    assert!(
        message.contains("failed to perform csi mount: /data") && message.contains("Invalid Credentials")
    );
    assert!(lab.event("ClaimFailed").await.contains("Invalid Credentials"));
    let claim = lab.api::<SandboxClaim>().get("claim").await.expect("there");
    assert!(!serde_json::to_string(&claim).expect("JSON").contains(SECRET));
    lab.until::<Sandbox>("the half-claimed sandbox is given back", |all| {
        all.iter().all(|sandbox| sandbox.labels()["agents.kruise.io/sandbox-claimed"] == "false")
    })
    .await;
    runtime.verify().await;
}

#[tokio::test]
async fn a_failed_sandbox_is_kept_when_asked_for_and_is_not_the_claims() {
    let lab = Lab::new().await;
    let runtime = MockServer::start().await;
    Mock::given(path("/init")).respond_with(ResponseTemplate::new(204)).mount(&runtime).await;
    mounting(ResponseTemplate::new(200).set_body_json(json!({"success": false, "message": "no"})))
        .mount(&runtime)
        .await;
    lab.secret_and_volume().await;
    pool(&lab, &runtime, 1).await;
    let mount = json!([{"pvName": "oss-pv", "mountPath": "/data"}]);
    claim(&lab, json!({"dynamicVolumesMount": mount, "reserveFailedSandbox": true})).await;
    assert!(completed(&lab).await.1.starts_with("Completed: 0/1 claimed; "));
    lab.until::<Sandbox>("it is kept", |all| {
        all.iter().any(|sandbox| {
            sandbox
                .labels()
                .get("agents.kruise.io/reserved-failed-sandbox")
                .is_some_and(|value| value == "true")
        })
    })
    .await;
}

#[tokio::test]
async fn an_empty_pool_is_told_or_filled_as_the_claim_says() {
    let lab = Lab::new().await;
    let runtime = willing_runtime().await;
    pool(&lab, &runtime, 0).await;
    claim(&lab, json!({"createOnNoStock": false, "claimTimeout": "10s"})).await;
    let told = lab.event("NoAvailableSandboxes").await;
    assert!(told.contains("no available sandboxes for template \"pool\""), "{told}");
    let (reason, message) = completed_with_time(&lab).await;
    assert_eq!(reason, "TimeoutReached");
    assert!(message.contains("the pool is empty"), "{message}");
    lab.api::<SandboxClaim>().delete("claim", &DeleteParams::default()).await.expect("deleted");

    claim(&lab, json!({})).await;
    assert_eq!(completed(&lab).await.0, "AllReplicasClaimed");
    let made = taken(&lab).await;
    assert_eq!(made[0].annotations()["agents.kruise.io/sandbox-priority"], "100");
}

#[tokio::test]
async fn a_completed_claim_goes_after_its_time_and_its_sandbox_stays() {
    let lab = Lab::new().await;
    let runtime = willing_runtime().await;
    pool(&lab, &runtime, 1).await;
    claim(&lab, json!({"ttlAfterCompleted": "100s"})).await;
    assert_eq!(completed(&lab).await.0, "AllReplicasClaimed");
    lab.clock.advance(Duration::from_secs(101));
    lab.until::<SandboxClaim>("gone", <[SandboxClaim]>::is_empty).await;
    assert!(lab.event("SandboxClaimTTLDelete").await.contains("its sandboxes stay"));
    assert_eq!(taken(&lab).await.len(), 1);
}

#[tokio::test]
async fn what_a_dead_controller_left_half_claimed_is_collected_and_claimed_anew() {
    let mut lab = Lab::bare().await;
    let first = lab.start_controller();
    lab.start_kubelet();
    let runtime = MockServer::start().await;
    Mock::given(path("/init")).respond_with(ResponseTemplate::new(204)).mount(&runtime).await;
    mounting(ResponseTemplate::new(200).set_delay(support::LIMIT * 6)).up_to_n_times(1).mount(&runtime).await;
    mounting(ResponseTemplate::new(200).set_body_json(json!({"success": true}))).mount(&runtime).await;
    lab.secret_and_volume().await;
    pool(&lab, &runtime, 2).await;
    let mount = json!([{"pvName": "oss-pv", "mountPath": "/data"}]);
    claim(&lab, json!({"dynamicVolumesMount": mount, "claimTimeout": "1h"})).await;
    let half = lab
        .until::<Sandbox>("half-claimed", |all| {
            all.iter().any(|sandbox| {
                sandbox.annotations().contains_key("agents.kruise.io/claim-unacknowledged-until")
            })
        })
        .await;
    let half = half.iter().find(|sandbox| sandbox.owner_references().is_empty()).expect("one").name_any();
    first.abort();
    lab.start_controller();
    assert_eq!(completed(&lab).await.0, "AllReplicasClaimed");
    lab.until_with_time::<Sandbox>("collected", |all| all.iter().all(|sandbox| sandbox.name_any() != half))
        .await;
    assert_eq!(taken(&lab).await.len(), 1);
}
