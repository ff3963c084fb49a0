//! The controller when things go on without it or under it.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

mod support;

use std::collections::BTreeSet;

use contract::crd::{Sandbox, SandboxSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use support::{Lab, plain_set};

#[tokio::test]
async fn a_large_pool_is_filled_with_exactly_as_many_as_asked_for() {
    let lab = Lab::new().await;
    lab.create::<SandboxSet>(plain_set("pool", 60)).await;
    lab.available("pool", 60).await;
    let sandboxes = lab.api::<Sandbox>().list(&ListParams::default()).await.expect("listed").items;
    assert_eq!(sandboxes.len(), 60);
    let created = |events: &[Event]| {
        let reasons = events.iter().filter_map(|event| event.reason.as_deref());
        reasons.filter(|reason| *reason == "SandboxCreated").count()
    };
    let events = lab.until::<Event>("an event for each", |events| created(events) >= 60).await;
    assert_eq!(created(&events), 60, "none was created too much and removed again");
    assert!(events.iter().all(|event| event.reason.as_deref() != Some("SandboxScaledDown")));
}

#[tokio::test]
async fn a_restarted_controller_changes_nothing_that_is_right_and_repairs_what_is_not() {
    let mut lab = Lab::bare().await;
    lab.start_kubelet();
    let first = lab.start_controller();
    lab.create::<SandboxSet>(plain_set("pool", 3)).await;
    lab.available("pool", 3).await;
    let before = pods(&lab).await;
    first.abort();
    let lost = before.first().expect("three pods").clone();
    lab.api::<Pod>().delete(&lost.0, &DeleteParams::default().grace_period(0)).await.expect("deleted");
    lab.start_controller();
    lab.until::<Sandbox>("the sandbox without a pod is replaced", |all| {
        all.len() == 3 && all.iter().all(|sandbox| sandbox.name_any() != lost.0)
    })
    .await;
    lab.available("pool", 3).await;
    let after = pods(&lab).await;
    assert_eq!(after.intersection(&before).count(), 2, "the others kept their pods");
}

#[tokio::test]
async fn broken_and_expired_watches_are_taken_up_again() {
    let lab = Lab::new().await;
    lab.create::<SandboxSet>(plain_set("pool", 1)).await;
    lab.available("pool", 1).await;
    lab.sim.compact();
    lab.sim.drop_watches();
    lab.merge::<SandboxSet>("pool", json!({"spec": {"replicas": 3}})).await;
    lab.until::<Sandbox>("scaled up after the restart", |all| all.len() == 3).await;
    lab.until::<Pod>("their pods too", |all| all.len() == 3).await;
}

/// Name and UID of every pod.
async fn pods(lab: &Lab) -> BTreeSet<(String, Option<String>)> {
    let pods = lab.api::<Pod>().list(&ListParams::default()).await.expect("listed").items;
    pods.iter().map(|pod| (pod.name_any(), pod.uid())).collect()
}
