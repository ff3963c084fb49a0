//! Single Sandboxes on the API server of this process.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

#[path = "sandbox/checkpoints.rs"]
mod checkpoints;
#[path = "sandbox/operations.rs"]
mod operations;
mod support;

use std::time::Duration;

use contract::crd::Sandbox;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use support::{Lab, phase, ready_reason, sandbox};

#[tokio::test]
async fn a_sandbox_gets_a_pod_of_its_name_and_its_address() {
    let lab = Lab::new().await;
    lab.create::<Sandbox>(sandbox("one", json!({}))).await;
    let found = lab
        .until::<Sandbox>("ready", |all| {
            all.iter().any(|sandbox| ready_reason(sandbox).as_deref() == Some("PodReady"))
        })
        .await;
    let status = found[0].status.clone().expect("a status");
    let pod = lab.api::<Pod>().get("one").await.expect("a pod of that name");
    assert_eq!(phase(&found[0]), "Running");
    assert_eq!(status.sandbox_ip, pod.status.as_ref().and_then(|status| status.pod_ip.clone()));
    assert_eq!(status.pod_info.and_then(|info| info.pod_uid), pod.uid());
    assert_eq!(pod.labels()["agents.kruise.io/created-by"], "sandbox");
    assert_eq!(Some(&pod.labels()["pod-template-hash"]), status.update_revision.as_ref());
    assert!(found[0].finalizers().is_empty(), "a sandbox that never paused has no finalizer");
    lab.until::<Sandbox>("the immutable hash is written", |all| {
        all[0].annotations().contains_key("sandbox.agents.kruise.io/hash-immutable-part")
    })
    .await;
}

#[tokio::test]
async fn a_missing_injection_key_fails_loudly_until_it_is_there() {
    let lab = Lab::new().await;
    lab.create::<Sandbox>(sandbox("one", json!({"runtimes": [{"name": "special"}]}))).await;
    let failed = lab
        .until::<Sandbox>("the condition says so", |all| {
            all.iter().any(|sandbox| ready_reason(sandbox).as_deref() == Some("PodCreateFailed"))
        })
        .await;
    assert_eq!(phase(&failed[0]), "Pending");
    assert!(lab.event("PodCreateFailed").await.contains("injection template special not found"));
    let config_maps: Api<ConfigMap> = Api::namespaced(lab.client.clone(), "sandbox-system");
    let added = Patch::Merge(json!({"data": {"special": r#"{"labels": {"added": "yes"}}"#}}));
    config_maps.patch("sandbox-injection-config", &PatchParams::default(), &added).await.expect("patched");
    lab.until::<Sandbox>("running", |all| all.iter().any(|sandbox| phase(sandbox) == "Running")).await;
    let pod = lab.api::<Pod>().get("one").await.expect("made");
    assert_eq!(pod.labels()["added"], "yes");
}

#[tokio::test]
async fn a_template_that_is_none_is_said_and_can_be_corrected() {
    let lab = Lab::new().await;
    lab.create::<Sandbox>(sandbox("one", json!({"template": {"spec": {"containers": "none"}}}))).await;
    assert!(lab.event("PodCreateFailed").await.contains("the pod template cannot be read"));
    let correct = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "one"}]}}}});
    lab.merge::<Sandbox>("one", correct).await;
    lab.until::<Sandbox>("running", |all| all.iter().any(|sandbox| phase(sandbox) == "Running")).await;
}

#[tokio::test]
async fn the_shutdown_time_follows_the_injected_clock() {
    let lab = Lab::new().await;
    let now = clock::Clock::now(&lab.clock);
    let deadline = now + SignedDuration::from_secs(300);
    lab.create::<Sandbox>(sandbox("one", json!({"shutdownTime": deadline.to_string()}))).await;
    lab.until::<Sandbox>("running", |all| all.iter().any(|sandbox| phase(sandbox) == "Running")).await;
    lab.clock.advance(Duration::from_secs(301));
    lab.until::<Sandbox>("deleted", <[Sandbox]>::is_empty).await;
    lab.until::<Pod>("the pod went with it", <[Pod]>::is_empty).await;
}

#[tokio::test]
async fn a_finished_sandbox_is_deleted_at_its_shutdown_time() {
    let lab = Lab::new().await;
    let deadline = clock::Clock::now(&lab.clock) + SignedDuration::from_secs(300);
    lab.create::<Sandbox>(sandbox("one", json!({"shutdownTime": deadline.to_string()}))).await;
    lab.until::<Sandbox>("running", |all| all.iter().any(|sandbox| phase(sandbox) == "Running")).await;
    lab.api::<Pod>().delete("one", &DeleteParams::default().grace_period(0)).await.expect("deleted");
    let failed =
        lab.until::<Sandbox>("failed", |all| all.iter().any(|sandbox| phase(sandbox) == "Failed")).await;
    assert_eq!(failed[0].status.clone().and_then(|status| status.message).as_deref(), Some("Pod Not Found"));
    lab.clock.advance(Duration::from_secs(301));
    lab.until::<Sandbox>("deleted", <[Sandbox]>::is_empty).await;
}

#[tokio::test]
async fn a_pod_of_somebody_else_blocks_with_a_word() {
    let lab = Lab::new().await;
    let foreign: Pod = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"},
        "spec": {"containers": [{"name": "main", "image": "foreign"}]},
    }))
    .expect("a pod");
    lab.api::<Pod>().create(&PostParams::default(), &foreign).await.expect("created");
    lab.create::<Sandbox>(sandbox("one", json!({}))).await;
    assert!(lab.event("PodOwnerMismatch").await.contains("another owner"));
    lab.api::<Pod>().delete("one", &DeleteParams::default().grace_period(0)).await.expect("deleted");
    lab.until::<Sandbox>("running once it is gone", |all| {
        all.iter().any(|sandbox| phase(sandbox) == "Running")
    })
    .await;
}

#[tokio::test]
async fn changed_template_labels_reach_the_running_pod() {
    let lab = Lab::new().await;
    lab.create::<Sandbox>(sandbox("one", json!({}))).await;
    lab.until::<Sandbox>("running", |all| all.iter().any(|sandbox| phase(sandbox) == "Running")).await;
    let before = lab.api::<Pod>().get("one").await.expect("a pod");
    let change = json!({"spec": {"template": {"metadata": {"labels": {"agents.kruise.io/owner": "user"}}}}});
    lab.merge::<Sandbox>("one", change).await;
    let after = lab
        .until::<Pod>("the label is on the pod", |pods| {
            pods.iter()
                .any(|pod| pod.labels().get("agents.kruise.io/owner").is_some_and(|owner| owner == "user"))
        })
        .await;
    assert_eq!(after[0].uid(), before.uid(), "the pod stayed");
    assert_ne!(after[0].labels()["pod-template-hash"], before.labels()["pod-template-hash"]);
}

#[tokio::test]
async fn claim_templates_become_claims_and_volumes() {
    let lab = Lab::new().await;
    let spec = json!({"volumeClaimTemplates": [{
        "metadata": {"name": "work"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }]});
    lab.create::<Sandbox>(sandbox("one", spec)).await;
    lab.until::<Sandbox>("running", |all| all.iter().any(|sandbox| phase(sandbox) == "Running")).await;
    let claim = lab.api::<PersistentVolumeClaim>().get("work-one").await.expect("the claim");
    assert_eq!(claim.owner_references()[0].kind, "Sandbox");
    let pod = lab.api::<Pod>().get("one").await.expect("the pod");
    let volumes = pod.spec.and_then(|spec| spec.volumes).unwrap_or_default();
    let source = volumes
        .iter()
        .find(|volume| volume.name == "work")
        .and_then(|volume| volume.persistent_volume_claim.clone());
    assert_eq!(source.map(|source| source.claim_name).as_deref(), Some("work-one"));
}

#[tokio::test]
async fn a_deleted_sandbox_that_was_paused_once_goes_after_its_pod() {
    let lab = Lab::new().await;
    let mut object = sandbox("one", json!({}));
    object["metadata"]["finalizers"] = json!(["agents.kruise.io/sandbox"]);
    lab.create::<Sandbox>(object).await;
    lab.until::<Sandbox>("running", |all| all.iter().any(|sandbox| phase(sandbox) == "Running")).await;
    lab.api::<Sandbox>().delete("one", &DeleteParams::default()).await.expect("deleted");
    lab.until::<Sandbox>("gone", <[Sandbox]>::is_empty).await;
    lab.until::<Pod>("its pod too", <[Pod]>::is_empty).await;
    assert_eq!(lab.event("SandboxTerminating").await, "Sandbox is deleted, its pod goes first");
}
