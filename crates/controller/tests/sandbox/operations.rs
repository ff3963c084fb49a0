//! `SandboxUpdateOps` on the API server of this process (`kubernetes.md` §7.2).

use contract::conditions::{self, types};
use contract::crd::{SandboxUpdateOps, UpdateOpsPhase};
use kube::api::ListParams;
use serde_json::Value;

use super::*;

fn operation(name: &str, image: &str, limit: i32) -> Value {
    json!({
        "apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxUpdateOps", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"team": "red"}},
            "updateStrategy": {"maxUnavailable": limit},
            "patch": {"spec": {"containers": [{"name": "main", "image": image}]}},
        },
    })
}

async fn running(lab: &Lab, count: usize) {
    for number in 0..count {
        let mut sandbox = support::sandbox(&format!("s{number}"), json!({}));
        sandbox["metadata"]["labels"] = json!({"team": "red"});
        lab.create::<Sandbox>(sandbox).await;
    }
    let is_running = |sandbox: &Sandbox| phase(sandbox) == "Running" && contract::state::is_ready(sandbox);
    lab.until::<Sandbox>("all run", |all| all.len() == count && all.iter().all(is_running)).await;
}

fn image(sandbox: &Sandbox) -> &str {
    let template = sandbox.spec.template.as_ref();
    let image = template.and_then(|template| template.pointer("/spec/containers/0/image")?.as_str());
    image.unwrap_or_default()
}

async fn until_operation(
    lab: &Lab,
    what: &str,
    is_so: impl Fn(&SandboxUpdateOps) -> bool,
) -> SandboxUpdateOps {
    lab.until::<SandboxUpdateOps>(what, |all| all.iter().any(&is_so)).await.remove(0)
}

fn is_in(operation: &SandboxUpdateOps, phase: UpdateOpsPhase) -> bool {
    operation.status.as_ref().and_then(|status| status.phase) == Some(phase)
}

#[tokio::test]
async fn an_operation_goes_on_where_another_controller_left_it_and_leaves_no_label() {
    let mut lab = Lab::bare().await;
    lab.start_kubelet();
    let first = lab.start_controller();
    running(&lab, 6).await;
    lab.create::<SandboxUpdateOps>(operation("roll", "two", 2)).await;
    let updated = |operation: &SandboxUpdateOps| {
        operation.status.as_ref().is_some_and(|status| status.updated_replicas >= 2)
    };
    until_operation(&lab, "some are upgraded", updated).await;
    first.abort();
    lab.start_controller();
    let done = until_operation(&lab, "it completes", |it| is_in(it, UpdateOpsPhase::Completed)).await;
    let status = done.status.expect("a status");
    let counts = (status.replicas, status.updated_replicas, status.updating_replicas, status.failed_replicas);
    assert_eq!(counts, (6, 6, 0, 0));
    assert!(conditions::is_true(&status.conditions, types::COMPLETED));
    let all = lab.api::<Sandbox>().list(&ListParams::default()).await.expect("a list").items;
    for sandbox in &all {
        assert_eq!((image(sandbox), &sandbox.spec.upgrade_policy), ("two", &None), "{}", sandbox.name_any());
    }
    assert!(lab.event("SandboxUpdateOpsPhaseChanged").await.contains("phase changed from"));
    lab.api::<SandboxUpdateOps>().delete("roll", &DeleteParams::default()).await.expect("deleted");
    lab.until::<SandboxUpdateOps>("it is gone", <[SandboxUpdateOps]>::is_empty).await;
    let left = ListParams::default().labels("agents.kruise.io/update-ops");
    assert_eq!(lab.api::<Sandbox>().list(&left).await.expect("a list").items.len(), 0);
}

/// The admission policies refuse a second one; one that came in without them waits.
#[tokio::test]
async fn a_second_operation_waits_for_the_first() {
    let mut lab = Lab::bare().await;
    lab.start_kubelet();
    lab.start_controller();
    running(&lab, 1).await;
    let mut first = operation("first", "two", 1);
    first["spec"]["paused"] = json!(true);
    lab.create::<SandboxUpdateOps>(first).await;
    until_operation(&lab, "the first is at work", |it| is_in(it, UpdateOpsPhase::Updating)).await;
    lab.create::<SandboxUpdateOps>(operation("second", "three", 1)).await;
    let waits = |it: &SandboxUpdateOps| {
        let conditions = it.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let told = conditions::find(conditions, types::COMPLETED);
        let tells = told.is_some_and(|it| {
            it.reason == "AnotherOperation" && it.message.contains("SandboxUpdateOps first")
        });
        it.name_any() == "second" && is_in(it, UpdateOpsPhase::Pending) && tells
    };
    until_operation(&lab, "the second says that it waits", waits).await;
    lab.api::<SandboxUpdateOps>().delete("first", &DeleteParams::default()).await.expect("deleted");
    until_operation(&lab, "the second completes", |it| {
        it.name_any() == "second" && is_in(it, UpdateOpsPhase::Completed)
    })
    .await;
    lab.until::<Sandbox>("the image is the second's", |all| all.iter().all(|it| image(it) == "three")).await;
}

#[tokio::test]
async fn a_paused_sandbox_is_upgraded_and_pauses_again() {
    let lab = Lab::new().await;
    running(&lab, 1).await;
    lab.merge::<Sandbox>("s0", json!({"spec": {"paused": true}})).await;
    let is_paused = |sandbox: &Sandbox| {
        let status = sandbox.status.clone().unwrap_or_default();
        phase(sandbox) == "Paused" && conditions::is_true(&status.conditions, types::SANDBOX_PAUSED)
    };
    lab.until::<Sandbox>("it is paused", |all| is_paused(&all[0])).await;
    let mut wakes = operation("roll", "two", 1);
    wakes["spec"]["stateFilter"] = json!({"states": ["Running", "Paused"]});
    lab.create::<SandboxUpdateOps>(wakes).await;
    until_operation(&lab, "it completes", |it| is_in(it, UpdateOpsPhase::Completed)).await;
    let all = lab.until::<Sandbox>("it pauses again", |all| is_paused(&all[0])).await;
    assert_eq!((image(&all[0]), all[0].spec.paused), ("two", true));
    assert!(!all[0].annotations().contains_key("agents.kruise.io/upgrade-resume-trigger"));
    assert!(lab.event("UpgradeResumed").await.contains("awake"));
}
