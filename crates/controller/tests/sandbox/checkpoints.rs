//! Checkpoints on the API server of this process; the test says what a node would (`docs/design/0015-checkpoints.md`).

use std::sync::Arc;
use std::time::Duration;

use contract::checkpoint::{self, Outcome};
use contract::conditions::{self, types};
use contract::crd::{Checkpoint, SandboxTemplate};
use contract::state;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt as _};
use kube_sim::{ApiFault, Faults, RequestFacts};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

const ORDER: &str = "mountlab.dev/checkpoint-order";
const RELEASED: &str = "mountlab.dev/checkpoint-released";
const OUTCOME: &str = "mountlab.dev/checkpoint-outcome";

/// A lab with a node and a claimed sandbox that runs on it.
async fn on_node(labels: Value) -> Lab {
    let lab = Lab::new().await;
    let node: Node =
        serde_json::from_value(json!({"metadata": {"name": "node-1", "labels": labels}})).expect("a node");
    Api::<Node>::all(lab.client.clone()).create(&PostParams::default(), &node).await.expect("created");
    let mut object = sandbox(
        "one",
        json!({"runtimes": [], "template": {
            "metadata": {
                "labels": {"app": "demo", "added": "by-the-claim", "agents.kruise.io/owner": "somebody"},
                "annotations": {"note": "stays", "agents.kruise.io/x": "goes"},
            },
            "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "one"}]},
        }}),
    );
    object["metadata"]["annotations"] = json!({
        "agents.kruise.io/owner": "somebody",
        "agents.kruise.io/runtime-access-token": "token-of-the-source",
        "agents.kruise.io/updated-metadata-in-claim": r#"{"labels":["added"],"annotations":[]}"#,
        "e2b.agents.kruise.io/csi-volume-config": r#"[{"pvName":"oss-pv","mountPath":"/data"}]"#,
    });
    lab.create::<Sandbox>(object).await;
    lab.until::<Sandbox>("the sandbox runs", |all| phase(&all[0]) == "Running").await;
    lab
}

fn capable() -> Value {
    json!({"mountlab.dev/checkpoints": "filesystem"})
}

async fn take(lab: &Lab, name: &str, spec: Value) {
    let object = json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "Checkpoint", "metadata": {"name": name}, "spec": spec});
    lab.create::<Checkpoint>(object).await;
}

async fn until_phase(lab: &Lab, wanted: &str) -> Checkpoint {
    let all = lab
        .until::<Checkpoint>(&format!("the checkpoint is {wanted}"), |all| {
            all.iter().any(|found| checkpoint::phase(found) == wanted)
        })
        .await;
    all.into_iter().find(|found| checkpoint::phase(found) == wanted).expect("it was there")
}

/// What the node says.
async fn answer(lab: &Lab, name: &str, outcome: &Outcome) {
    lab.merge::<Checkpoint>(name, json!({"metadata": {"annotations": {OUTCOME: outcome.text()}}})).await;
}

fn ready(checkpoint: &Checkpoint) -> (&str, &str, &str) {
    let conditions = &checkpoint.status.as_ref().expect("a status").conditions;
    let found = conditions::find(conditions, types::READY).expect("a condition");
    (&found.status, &found.reason, &found.message)
}

#[tokio::test]
async fn a_node_gets_an_order_and_its_answer_becomes_the_status() {
    let lab = on_node(capable()).await;
    take(&lab, "kept", json!({"sandboxName": "one"})).await;
    let creating = until_phase(&lab, "Creating").await;
    let pod = lab.api::<Pod>().get("one").await.expect("a pod");
    let order: Value = serde_json::from_str(&creating.annotations()[ORDER]).expect("JSON");
    assert_eq!(order, json!({"node": "node-1", "podUid": pod.uid(), "container": "main"}));
    assert_eq!(creating.finalizers(), ["agents.kruise.io/checkpoint"]);
    assert_eq!(creating.annotations()["mountlab.dev/source-mounts"], "1");
    assert_eq!(creating.annotations()["agents.kruise.io/owner"], "somebody");
    let text = json!(creating).to_string();
    assert!(!text.contains("oss-pv") && !text.contains("token-of-the-source"), "{text}");

    answer(&lab, "kept", &Outcome::Kept { files: 3, bytes: 42 }).await;
    let done = until_phase(&lab, "Succeeded").await;
    assert_eq!(
        ready(&done),
        ("True", "CheckpointSucceeded", "3 files, folders and links with 42 bytes are kept")
    );
    let status = done.status.as_ref().expect("a status");
    assert!(status.completion_time.is_some() && status.observed_generation == Some(1));
    assert_eq!(status.checkpoint_id.as_deref(), Some(&*done.labels()["agents.kruise.io/checkpoint-id"]));

    let companion = lab.api::<SandboxTemplate>().get("kept").await.expect("a companion");
    assert_eq!(companion.owner_references()[0].uid, done.uid().expect("a UID"));
    let template = companion.spec.template.expect("a template");
    assert_eq!(template["metadata"], json!({"labels": {"app": "demo"}, "annotations": {"note": "stays"}}));
}

#[rstest]
#[case::node_without_the_part(json!({}), json!({"sandboxName": "one"}), "NotSupported", "node-1 cannot keep")]
#[case::memory(capable(), json!({"podName": "one", "persistentContents": ["memory"]}), "NotSupported", "memory")]
#[case::stop(capable(), json!({"podName": "one", "keepRunning": false}), "NotSupported", "keepRunning")]
#[case::nobody(capable(), json!({"sandboxName": "two"}), "CheckpointFailed", "no Sandbox two")]
#[case::nothing(capable(), json!({}), "CheckpointFailed", "neither")]
#[case::strange_words(capable(), json!({"podName": "one", "persistentContents": ["all"]}), "CheckpointFailed", "\"all\"")]
#[case::strange_time(capable(), json!({"podName": "one", "ttlAfterFinished": "soon"}), "CheckpointFailed", "soon")]
#[tokio::test]
async fn what_cannot_be_done_fails_at_once_and_holds_nothing(
    #[case] labels: Value,
    #[case] spec: Value,
    #[case] reason: &str,
    #[case] words: &str,
) {
    let lab = on_node(labels).await;
    take(&lab, "refused", spec).await;
    let failed = until_phase(&lab, "Failed").await;
    let (status, found, message) = ready(&failed);
    assert_eq!((status, found), ("False", reason), "{message}");
    assert!(message.contains(words), "{message}");
    assert!(failed.finalizers().is_empty() && !failed.annotations().contains_key(ORDER));
    assert!(lab.api::<SandboxTemplate>().get_opt("refused").await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_template_of_that_name_that_belongs_to_somebody_else_is_left_alone() {
    let lab = on_node(capable()).await;
    let object = json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxTemplate", "metadata": {"name": "taken"}, "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "i"}]}}}});
    lab.create::<SandboxTemplate>(object).await;
    take(&lab, "taken", json!({"sandboxName": "one"})).await;
    let failed = until_phase(&lab, "Failed").await;
    assert!(ready(&failed).2.contains("taken"), "{:?}", ready(&failed));
    assert!(failed.finalizers().is_empty());
}

#[tokio::test]
async fn a_node_that_says_no_or_nothing_fails_it() {
    let lab = on_node(capable()).await;
    take(&lab, "full", json!({"sandboxName": "one"})).await;
    until_phase(&lab, "Creating").await;
    answer(&lab, "full", &Outcome::Failed { reason: "no space left".into() }).await;
    let failed = until_phase(&lab, "Failed").await;
    assert_eq!(ready(&failed), ("False", "CheckpointFailed", "no space left"));

    take(&lab, "silent", json!({"sandboxName": "one"})).await;
    until_phase(&lab, "Creating").await;
    lab.clock.advance(Duration::from_secs(61));
    let all = lab
        .until::<Checkpoint>("both failed", |all| {
            all.iter().all(|found| checkpoint::phase(found) == "Failed")
        })
        .await;
    let silent = all.iter().find(|found| found.name_any() == "silent").expect("there");
    assert!(ready(silent).2.contains("has not answered within 60s"), "{:?}", ready(silent));
}

#[tokio::test]
async fn files_are_released_when_the_last_clone_is_gone() {
    let lab = on_node(capable()).await;
    take(&lab, "kept", json!({"sandboxName": "one"})).await;
    until_phase(&lab, "Creating").await;
    answer(&lab, "kept", &Outcome::Kept { files: 1, bytes: 1 }).await;
    let kept = until_phase(&lab, "Succeeded").await;
    let mut clone = sandbox("clone", json!({}));
    clone["metadata"]["annotations"] = json!({"agents.kruise.io/restore-from": checkpoint::id(&kept)});
    lab.create::<Sandbox>(clone).await;
    let pods = lab
        .until::<Pod>("the clone has a pod", |pods| pods.iter().any(|pod| pod.name_any() == "clone"))
        .await;
    let pod = pods.iter().find(|pod| pod.name_any() == "clone").expect("there");
    assert_eq!(pod.annotations()["agents.kruise.io/restore-from"], checkpoint::id(&kept));
    assert!(lab.event("StorageNotRestored").await.contains("nothing is mounted"));

    lab.api::<Checkpoint>().delete("kept", &DeleteParams::default()).await.expect("asked for");
    let held = until_phase(&lab, "Terminating").await;
    assert!(ready(&held).1 == "InUse" && ready(&held).2.contains("clone"), "{:?}", ready(&held));
    assert!(!held.annotations().contains_key(RELEASED));
    lab.api::<Sandbox>().delete("clone", &DeleteParams::default()).await.expect("deleted");
    lab.until::<Checkpoint>("it is released", |all| all[0].annotations().contains_key(RELEASED)).await;
    Api::<Node>::all(lab.client.clone()).delete("node-1", &DeleteParams::default()).await.expect("deleted");
    // the node is gone and its files with it
    lab.clock.advance(Duration::from_secs(61));
    lab.until::<Checkpoint>("it is gone", <[Checkpoint]>::is_empty).await;
}

#[tokio::test]
async fn it_is_kept_as_long_as_it_says() {
    let lab = on_node(capable()).await;
    take(&lab, "short", json!({"sandboxName": "one", "ttlAfterFinished": "1d"})).await;
    until_phase(&lab, "Creating").await;
    answer(&lab, "short", &Outcome::Kept { files: 1, bytes: 1 }).await;
    until_phase(&lab, "Succeeded").await;
    lab.clock.advance(Duration::from_hours(23));
    assert!(lab.api::<Checkpoint>().get("short").await.expect("there").metadata.deletion_timestamp.is_none());
    lab.clock.advance(Duration::from_hours(2));
    lab.until::<Checkpoint>("its time is over", |all| {
        all.is_empty() || all[0].annotations().contains_key(RELEASED)
    })
    .await;
}

/// An API server that does that to whoever makes a Checkpoint.
#[derive(Debug)]
struct NoCheckpoints(ApiFault);

impl Faults for NoCheckpoints {
    fn strike(&self, request: &RequestFacts) -> Option<ApiFault> {
        (request.verb == "create" && request.resource == "checkpoints").then(|| self.0.clone())
    }
}

/// A Sandbox that is to be upgraded with its files, while no Checkpoint can be made.
async fn upgraded_without_checkpoints(fault: ApiFault) -> (Lab, Option<String>) {
    let lab = on_node(capable()).await;
    let before = lab.api::<Pod>().get("one").await.expect("a pod").uid();
    lab.sim.set_faults(Some(Arc::new(NoCheckpoints(fault))));
    let template = json!({"spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "two"}]}});
    let spec = json!({"upgradePolicy": {"type": "CheckpointRestore"}, "template": template});
    lab.merge::<Sandbox>("one", json!({"spec": spec})).await;
    (lab, before)
}

fn upgrading(sandbox: &Sandbox) -> (&str, &str) {
    let conditions = &sandbox.status.as_ref().expect("a status").conditions;
    conditions::find(conditions, types::UPGRADING).map_or(("", ""), |told| (&told.reason, &told.message))
}

#[tokio::test]
async fn an_upgrade_without_the_right_to_its_checkpoint_ends_with_words_and_begins_anew_with_the_right() {
    let (lab, before) = upgraded_without_checkpoints(ApiFault::Forbidden).await;
    let all = lab
        .until::<Sandbox>("it runs on and says why", |all| {
            phase(&all[0]) == "Running"
                && upgrading(&all[0]).0 == "CheckpointCreateFailed"
                && state::is_ready(&all[0])
        })
        .await;
    let right = "grant it the verb create of checkpoints.agents.kruise.io in namespace default";
    assert!(
        upgrading(&all[0]).1.contains("injected fault") && upgrading(&all[0]).1.contains(right),
        "{all:?}"
    );
    assert!(lab.event("CheckpointFailed").await.contains(right));
    assert_eq!(lab.api::<Pod>().get("one").await.expect("a pod").uid(), before);

    lab.sim.set_faults(None);
    lab.clock.advance(Duration::from_secs(61));
    let creating = until_phase(&lab, "Creating").await;
    answer(&lab, &creating.name_any(), &Outcome::Kept { files: 1, bytes: 1 }).await;
    lab.until::<Pod>("another pod has the files", |pods| {
        pods.iter()
            .any(|pod| pod.uid() != before && pod.annotations().contains_key("agents.kruise.io/restore-from"))
    })
    .await;
    assert_eq!(lab.events("CheckpointFailed").await.len(), 1, "told once");
}

#[tokio::test]
async fn an_upgrade_whose_checkpoint_nobody_answers_for_ends_after_the_limit() {
    let (lab, before) = upgraded_without_checkpoints(ApiFault::Unavailable).await;
    let waiting = lab.until::<Sandbox>("it says what it waits for", |all| {
        let (reason, message) = upgrading(&all[0]);
        reason == "Checkpointing" && message.contains("injected fault")
    });
    waiting.await;
    let failed = lab
        .sandbox_with_time("it runs on", |one| upgrading(one).0 == "CheckpointFailed" && state::is_ready(one))
        .await;
    let (_, message) = upgrading(&failed);
    assert!(message.contains("within the limit of 120 s") && message.contains("injected fault"), "{message}");
    assert_eq!(lab.api::<Pod>().get("one").await.expect("a pod").uid(), before);
}

#[tokio::test]
async fn a_checkpoint_of_somebody_else_ends_an_upgrade_that_would_make_one_of_its_name() {
    let lab = on_node(capable()).await;
    let before = lab.api::<Pod>().get("one").await.expect("a pod").uid().expect("a UID");
    let letters: String = before.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let taken = format!("one-{letters}");
    take(&lab, &taken, json!({"sandboxName": "nobody"})).await;
    lab.merge::<Sandbox>(
        "one",
        json!({"spec": {"upgradePolicy": {"type": "CheckpointRestore"}, "template": {"spec": {
        "nodeName": "node-1", "containers": [{"name": "main", "image": "two"}]}}}}),
    )
    .await;
    let told = lab.event("CheckpointFailed").await;
    assert!(told.contains(&format!("Checkpoint {taken} is somebody else's")), "{told}");
    lab.until::<Sandbox>("it runs on", |all| {
        upgrading(&all[0]).0 == "CheckpointCreateFailed" && state::is_ready(&all[0])
    })
    .await;
    lab.api::<Checkpoint>().delete(&taken, &DeleteParams::default()).await.expect("deleted");
    let own = lab.until_with_time::<Checkpoint>("its own is made", |all| {
        all.iter().any(|found| !found.owner_references().is_empty())
    });
    assert_eq!(own.await[0].name_any(), taken);
}
