//! What is decided about one Sandbox, as tables (`kubernetes.md` §5.1 to §5.3, §5.7, §5.10).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

#[path = "decisions/in_place.rs"]
mod in_place;
#[path = "decisions/operations.rs"]
mod operations;
#[path = "decisions/pausing.rs"]
mod pausing;
#[path = "decisions/recycling.rs"]
mod recycling;
#[path = "decisions/sleeping.rs"]
mod sleeping;
#[path = "decisions/upgrading.rs"]
mod upgrading;

use contract::conditions::{self, types};
use contract::crd::{Sandbox, SandboxPhase};
use contract::hash;
use controller::sandbox::{Action, Decision, build_pod, decide};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use rstest::rstest;
use serde_json::{Value, json};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a small number")
}

fn at(seconds: i64) -> String {
    (now() + SignedDuration::from_secs(seconds)).to_string()
}

/// A Sandbox with the members of `change` merged in.
fn sandbox(change: &Value) -> Sandbox {
    let mut json = json!({
        "apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox",
        "metadata": {
            "name": "one", "namespace": "default", "uid": "sandbox-uid", "generation": 3,
            "annotations": {"sandbox.agents.kruise.io/hash-immutable-part": "x"},
        },
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "img"}]}}},
    });
    merge(&mut json, change);
    serde_json::from_value(json).expect("a Sandbox")
}

fn in_phase(phase: &str) -> Sandbox {
    sandbox(&json!({"status": {"phase": phase}}))
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (name, value) in change {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

fn pod(phase: &str, change: &Value) -> Pod {
    let revision = hash::update_revision(&in_phase("Running"));
    let mut json = json!({
        "metadata": {
            "name": "one", "namespace": "default", "uid": "pod-uid", "labels": {"pod-template-hash": revision},
            "ownerReferences": [
                {"apiVersion": "a", "kind": "Sandbox", "name": "one", "uid": "sandbox-uid", "controller": true},
            ],
        },
        "spec": {"nodeName": "node", "containers": [{"name": "main", "image": "img"}]},
        "status": {"phase": phase, "podIP": "10.0.0.7"},
    });
    merge(&mut json, change);
    serde_json::from_value(json).expect("a pod")
}

fn ready(status: &str) -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": status}]}})
}

fn phase_of(decision: &Decision) -> &str {
    decision.status.as_ref().map_or("", |status| status.phase.as_str())
}

fn reasons(decision: &Decision) -> Vec<&str> {
    decision.events.iter().map(|event| event.reason.as_str()).collect()
}

// §5.2
#[rstest]
#[case::new(json!({}))]
#[case::pending(json!({"status": {"phase": "Pending"}}))]
fn a_sandbox_without_a_pod_gets_one(#[case] change: Value) {
    let decision = decide(&sandbox(&change), None, None, now());
    assert_eq!(
        (decision.actions.as_slice(), phase_of(&decision)),
        ([Action::CreatePod].as_slice(), "Pending")
    );
    let status = decision.status.expect("a status");
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(status.update_revision, Some(hash::update_revision(&in_phase("Running"))));
}

#[test]
fn without_a_template_a_sandbox_is_left_alone_until_it_is_deleted() {
    assert_eq!(
        decide(&sandbox(&json!({"spec": {"template": null}})), None, None, now()),
        Decision::default()
    );
}

#[rstest]
#[case::not_running(pod("Pending", &json!({})), "Pending", &[])]
#[case::no_status(pod("", &json!({"status": null})), "Pending", &[])]
#[case::running(pod("Running", &ready("True")), "Running", &["SandboxRunning"])]
#[case::succeeded(pod("Succeeded", &json!({})), "Succeeded", &["SandboxSucceeded"])]
#[case::failed(pod("Failed", &json!({})), "Failed", &["SandboxFailed"])]
#[case::going(pod("Running", &json!({"metadata": {"deletionTimestamp": at(0)}})), "Pending", &[])]
#[case::foreign(pod("Running", &json!({"metadata": {"ownerReferences": []}})), "Pending", &["PodOwnerMismatch"])]
fn a_pending_sandbox_follows_its_pod(#[case] pod: Pod, #[case] phase: &str, #[case] events: &[&str]) {
    let decision = decide(&in_phase("Pending"), Some(&pod), None, now());
    assert_eq!((phase_of(&decision), reasons(&decision).as_slice()), (phase, events));
    assert!(decision.actions.is_empty(), "{:?}", decision.actions);
}

fn waits(containers: &Value) -> Pod {
    pod("Pending", &json!({"status": {"containerStatuses": containers}}))
}

fn container(name: &str, reason: &str, message: &str) -> Value {
    json!({
        "name": name, "image": "img", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}},
    })
}

#[test]
fn a_pending_sandbox_says_what_its_pod_waits_for() {
    let explained = |sandbox: &Sandbox, pod: &Pod| {
        let status = decide(sandbox, Some(pod), None, now()).status.expect("a status");
        assert_eq!(status.phase, SandboxPhase::Pending);
        let ready = conditions::find(&status.conditions, types::READY).cloned();
        (ready.map(|ready| (ready.status, ready.reason, ready.message)), status)
    };
    let ordinary =
        json!([container("side", "PodInitializing", ""), container("main", "ContainerCreating", "")]);
    assert_eq!(explained(&in_phase("Pending"), &waits(&ordinary)).0, None);
    let stuck =
        json!([container("side", "PodInitializing", ""), container("main", "ErrImagePull", "no such image")]);
    let (ready, status) = explained(&in_phase("Pending"), &waits(&stuck));
    let (status_word, reason, message) = ready.expect("a condition");
    assert_eq!((status_word.as_str(), reason.as_str()), ("False", "StartContainerFailed"));
    assert_eq!(message, "container main does not start: ErrImagePull: no such image");
    // Where it got over it, nothing is said any more.
    let mut later = in_phase("Pending");
    later.status = Some(status);
    assert_eq!(explained(&later, &waits(&ordinary)).0, None);
}

#[test]
fn a_running_sandbox_has_its_pods_address_node_and_uid() {
    let decision = decide(&in_phase("Pending"), Some(&pod("Running", &ready("True"))), None, now());
    let status = decision.status.expect("a status");
    let info = status.pod_info.expect("pod info");
    assert_eq!((status.sandbox_ip.as_deref(), status.node_name.as_deref()), (Some("10.0.0.7"), Some("node")));
    assert_eq!((info.pod_ip.as_deref(), info.pod_uid.as_deref()), (Some("10.0.0.7"), Some("pod-uid")));
    assert!(conditions::is_true(&status.conditions, types::READY));
}

#[test]
fn a_failed_creation_is_forgotten_once_the_pod_is_there() {
    let failed = sandbox(&json!({"status": {"phase": "Pending", "conditions": [{
        "type": "Ready", "status": "False", "reason": "PodCreateFailed", "message": "m", "lastTransitionTime": at(0),
    }]}}));
    let decision = decide(&failed, Some(&pod("Pending", &json!({}))), None, now());
    assert!(decision.status.expect("a status").conditions.is_empty());
}

// §5.3
#[rstest]
#[case::alive(Some(pod("Running", &ready("True"))), "Running", None)]
#[case::missing(None, "Failed", Some("Pod Not Found"))]
#[case::going(Some(pod("Running", &json!({"metadata": {"deletionTimestamp": at(0)}}))), "Failed", Some("Pod Not Found"))]
#[case::foreign(Some(pod("Running", &json!({"metadata": {"ownerReferences": []}}))), "Failed", Some("Pod Not Found"))]
#[case::failed(Some(pod("Failed", &json!({}))), "Failed", Some("Pod status phase is Failed"))]
#[case::succeeded(Some(pod("Succeeded", &json!({}))), "Succeeded", Some("Pod status phase is Succeeded"))]
fn a_running_sandbox_follows_its_pod(
    #[case] pod: Option<Pod>,
    #[case] phase: &str,
    #[case] message: Option<&str>,
) {
    let decision = decide(&in_phase("Running"), pod.as_ref(), None, now());
    assert_eq!(phase_of(&decision), phase);
    let status = decision.status.expect("a status");
    assert_eq!(status.message.as_deref(), message);
    assert_eq!(conditions::is_true(&status.conditions, types::READY), phase == "Running");
}

#[rstest]
#[case::ready(ready("True"), "True", "PodReady", "")]
#[case::not_ready(ready("False"), "False", "PodReady", "")]
#[case::waiting(json!({"status": {
    "conditions": [{"type": "Ready", "status": "False"}],
    "containerStatuses": [{"name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}],
}}), "False", "StartContainerFailed", "no such image")]
#[case::no_condition(json!({}), "False", "PodReady", "")]
fn ready_is_copied(#[case] change: Value, #[case] status: &str, #[case] reason: &str, #[case] message: &str) {
    let decision = decide(&in_phase("Running"), Some(&pod("Running", &change)), None, now());
    let conditions = decision.status.expect("a status").conditions;
    let found = conditions::find(&conditions, types::READY).expect("a condition");
    assert_eq!(
        (found.status.as_str(), found.reason.as_str(), found.message.as_str()),
        (status, reason, message)
    );
}

#[test]
fn an_unchanged_sandbox_decides_on_the_same_status_again() {
    let pod = pod("Running", &ready("True"));
    let first = decide(&in_phase("Running"), Some(&pod), None, now()).status.expect("a status");
    let mut again = in_phase("Running");
    again.status = Some(first.clone());
    let later = now() + SignedDuration::from_secs(60);
    let second = decide(&again, Some(&pod), None, later);
    assert_eq!(second.status, Some(first));
    assert!(second.events.is_empty() && second.actions.is_empty());
}

#[rstest]
#[case("Succeeded")]
#[case("Failed")]
fn a_finished_sandbox_is_left_alone(#[case] phase: &str) {
    let decision = decide(&in_phase(phase), None, None, now());
    assert_eq!((decision.status, decision.actions.len()), (None, 0));
}

// §5.8, labels and annotations only
#[rstest]
#[case::labels(json!({"metadata": {"labels": {"l": "1"}}}), true)]
#[case::same(json!({}), false)]
#[case::image(json!({"spec": {"containers": [{"name": "main", "image": "other"}]}}), false)]
fn only_metadata_is_patched_in_place(#[case] template: Value, #[case] patched: bool) {
    let changed = sandbox(&json!({"spec": {"template": template}, "status": {"phase": "Running"}}));
    let changed = with_immutable_hash(changed.clone(), &hash::immutable_part(&changed));
    let decision = decide(&changed, Some(&pod("Running", &ready("True"))), None, now());
    let expected = Action::PatchPodMetadata { revision: hash::update_revision(&changed) };
    assert_eq!(decision.actions.contains(&expected), patched, "{:?}", decision.actions);
}

fn with_immutable_hash(mut sandbox: Sandbox, hash: &str) -> Sandbox {
    let annotations = sandbox.metadata.annotations.get_or_insert_default();
    annotations.insert("sandbox.agents.kruise.io/hash-immutable-part".to_owned(), hash.to_owned());
    sandbox
}

#[test]
fn what_cannot_change_in_place_is_said_once_per_generation() {
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "img", "command": ["x"]}]}}}});
    let original = in_phase("Running");
    let mut changed = with_immutable_hash(sandbox(&change), &hash::immutable_part(&original));
    changed.status = original.status;
    let pod = pod("Running", &ready("True"));
    let first = decide(&changed, Some(&pod), None, now());
    assert_eq!(reasons(&first), ["InplaceUpdateForbidden"]);
    assert!(first.actions.is_empty());
    changed.status = first.status;
    assert!(decide(&changed, Some(&pod), None, now()).events.is_empty());
}

#[test]
fn the_immutable_hash_is_written_once() {
    let bare = sandbox(&json!({"metadata": {"annotations": null}}));
    let decision = decide(&bare, None, None, now());
    assert_eq!(decision.actions[0], Action::WriteImmutableHash(hash::immutable_part(&bare)));
}

// §5.7
#[rstest]
#[case::past(-1, "Running", true)]
#[case::past_pending(-1, "Pending", true)]
#[case::past_finished(-1, "Failed", true)]
#[case::exactly_now(0, "Running", false)]
#[case::future(300, "Running", false)]
fn the_shutdown_time(#[case] offset: i64, #[case] phase: &str, #[case] deleted: bool) {
    let change = json!({"spec": {"shutdownTime": at(offset)}, "status": {"phase": phase}});
    let decision = decide(&sandbox(&change), Some(&pod("Running", &ready("True"))), None, now());
    assert_eq!(decision.actions.contains(&Action::DeleteSandbox), deleted);
    let expected =
        (!deleted).then(|| now() + SignedDuration::from_secs(offset) + SignedDuration::from_millis(1));
    assert_eq!(decision.wake_at, expected, "strictly after the deadline");
}

// §5.10
fn deleted(finalizers: &[&str]) -> Sandbox {
    sandbox(
        &json!({"metadata": {"deletionTimestamp": at(0), "finalizers": finalizers}, "status": {"phase": "Running"}}),
    )
}

#[test]
fn termination_takes_the_pod_first_and_the_finalizer_last() {
    let held = deleted(&["agents.kruise.io/sandbox"]);
    let alive = decide(&held, Some(&pod("Running", &json!({}))), None, now());
    assert_eq!(alive.actions, [Action::DeletePod { uid: "pod-uid".to_owned() }]);
    assert_eq!(reasons(&alive), ["SandboxTerminating"]);
    let going = pod("Running", &json!({"metadata": {"deletionTimestamp": at(0)}}));
    assert_eq!(decide(&held, Some(&going), None, now()), Decision::default(), "waits");
    assert_eq!(decide(&held, None, None, now()).actions, [Action::DropFinalizer]);
    assert_eq!(decide(&deleted(&["somebody.else/s"]), None, None, now()), Decision::default());
}

// §5.2, pod content
#[test]
fn the_pod_has_the_template_the_bookkeeping_and_the_owner() {
    let template = json!({
        "metadata": {"labels": {"l": "1", "agents.kruise.io/owner": "user"}, "annotations": {"a": "1"}},
        "spec": {"containers": [{"name": "main", "image": "img"}], "terminationGracePeriodSeconds": 30},
    });
    let owner = sandbox(&json!({"spec": {"template": template}}));
    let parsed = serde_json::from_value(template).expect("a template");
    let parts = build_pod(&owner, parsed, None).expect("no runtimes, nothing to inject");
    let mut metadata = json!(parts.pod.metadata);
    assert_eq!(metadata["name"], "one");
    let made_of = metadata["annotations"]
        .as_object_mut()
        .and_then(|notes| notes.remove(contract::names::annotations::MADE_OF));
    assert!(made_of.is_some(), "what it was made of is noted");
    assert_eq!(
        metadata["labels"],
        json!({
            "l": "1", "agents.kruise.io/owner": "user", "agents.kruise.io/created-by": "sandbox",
            "pod-template-hash": hash::update_revision(&owner),
        })
    );
    assert_eq!(metadata["annotations"], json!({"a": "1", "agents.kruise.io/created-by": "sandbox"}));
    assert_eq!(
        metadata["ownerReferences"],
        json!([{
            "apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox", "name": "one", "uid": "sandbox-uid",
            "controller": true, "blockOwnerDeletion": true,
        }])
    );
    assert_eq!(parts.pod.spec.and_then(|spec| spec.termination_grace_period_seconds), Some(30));
}

// §8
#[rstest]
#[case::made_by_hand(json!({}), json!({}), None)]
#[case::by_hand_and_on(json!({}), json!({"automountServiceAccountToken": true}), Some(true))]
#[case::of_a_set(json!({"metadata": {"labels": {"agents.kruise.io/sandbox-template": "pool"}}}), json!({}), Some(false))]
#[case::of_a_set_that_says_on(
    json!({"metadata": {"labels": {"agents.kruise.io/sandbox-template": "pool"}}}),
    json!({"automountServiceAccountToken": true}), Some(false))]
#[case::of_a_template(json!({"spec": {"template": null, "templateRef": {"name": "shared"}}}), json!({}), Some(false))]
fn pods_of_sets_and_templates_get_no_service_account_token(
    #[case] change: Value,
    #[case] spec: Value,
    #[case] expected: Option<bool>,
) {
    let template = serde_json::from_value(json!({"spec": spec}));
    let parts = build_pod(&sandbox(&change), template.expect("a template"), None).expect("nothing to inject");
    assert_eq!(parts.pod.spec.and_then(|spec| spec.automount_service_account_token), expected);
}

#[test]
fn a_phase_that_is_not_known_is_left_as_it_is() {
    let decision = decide(&in_phase("Repainting"), None, None, now());
    assert_eq!(
        decision.status.map(|status| status.phase),
        Some(SandboxPhase::Other("Repainting".to_owned()))
    );
    assert!(decision.actions.is_empty());
}
