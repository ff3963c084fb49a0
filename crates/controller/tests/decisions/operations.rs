//! `SandboxUpdateOps` (`kubernetes.md` §7.2): what each sandbox is to one, and what is done about it.

use std::sync::Arc;

use contract::crd::{SandboxUpdateOps, UpdateOpsPhase};
use controller::operation::{self, Observed, OperationAction, OperationDecision};

use super::*;

const LABEL: &str = "agents.kruise.io/update-ops";
const FAILED: &str = "agents.kruise.io/upgrade-failed";
const TRIGGER: &str = "agents.kruise.io/upgrade-resume-trigger";

/// An operation that gives container main the image `new`, with the members of `change` merged in.
fn operation(change: &Value) -> SandboxUpdateOps {
    let mut json = json!({
        "apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxUpdateOps",
        "metadata": {
            "name": "roll", "namespace": "default", "generation": 1,
            "finalizers": ["agents.kruise.io/sandboxupdateops-protection"],
        },
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "patch": {"spec": {"containers": [{"name": "main", "image": "new"}]}},
        },
    });
    merge(&mut json, change);
    serde_json::from_value(json).expect("a SandboxUpdateOps")
}

/// A running sandbox that the selector matches, its generation observed.
fn matched(name: &str, change: &Value) -> Sandbox {
    let mut base = json!({
        "metadata": {"name": name, "labels": {"app": "x"}, "resourceVersion": "7"},
        "status": {"phase": "Running", "observedGeneration": 3},
    });
    merge(&mut base, change);
    sandbox(&base)
}

/// One that the operation has begun with, and whose condition Upgrading is so.
fn begun(name: &str, condition: Option<(&str, &str)>, change: &Value) -> Sandbox {
    let conditions: Vec<Value> = condition
        .map(|(status, reason)| {
            json!({"type": "Upgrading", "status": status, "reason": reason, "message": "the words", "lastTransitionTime": at(0)})
        })
        .into_iter()
        .collect();
    let mut base = json!({
        "metadata": {"labels": {LABEL: "roll"}},
        "spec": {
            "upgradePolicy": {"type": "Recreate"},
            "template": {"spec": {"containers": [{"name": "main", "image": "new"}]}},
        },
        "status": {"conditions": conditions},
    });
    merge(&mut base, change);
    matched(name, &base)
}

fn decided(operation: &SandboxUpdateOps, sandboxes: Vec<Sandbox>) -> OperationDecision {
    let sandboxes: Vec<_> = sandboxes.into_iter().map(Arc::new).collect();
    operation::decide(&Observed { operation, sandboxes: &sandboxes, earlier: None, now: now() })
}

/// The patches, without the version that they are of.
fn patches(decision: &OperationDecision) -> Vec<(String, Value)> {
    let patch = |action: &OperationAction| match action {
        OperationAction::Patch { sandbox, patch, .. } => {
            let mut patch = patch.clone();
            let metadata = patch["metadata"].as_object_mut().expect("metadata");
            assert_eq!(metadata.remove("resourceVersion"), Some(json!("7")), "of the version looked at");
            Some((sandbox.clone(), patch))
        }
        _ => None,
    };
    decision.actions.iter().filter_map(patch).collect()
}

fn names(decision: &OperationDecision) -> Vec<String> {
    patches(decision).into_iter().map(|(name, _)| name).collect()
}

/// Phase, and total/updated/updating/failed.
fn counts(decision: &OperationDecision) -> (Option<UpdateOpsPhase>, [i32; 4]) {
    let status = decision.status.clone().expect("a status");
    let counts = [status.replicas, status.updated_replicas, status.updating_replicas, status.failed_replicas];
    (status.phase, counts)
}

fn says(decision: &OperationDecision, kind: &str) -> String {
    let status = decision.status.clone().expect("a status");
    let found = conditions::find(&status.conditions, kind);
    found.map_or_else(String::new, |it| format!("{}/{}: {}", it.status, it.reason, it.message))
}

#[test]
fn a_start_gives_policy_hooks_label_and_the_patched_template() {
    let operation = operation(&json!({"spec": {"lifecycle": {"preUpgrade": {"exec": {"command": ["a"]}}}}}));
    let sandbox = matched(
        "one",
        &json!({"spec": {"template": {"metadata": {"labels": {"keep": "me"}},
            "spec": {"containers": [{"name": "main", "image": "old", "env": [{"name": "A", "value": "1"}]}, {"name": "side", "image": "s"}]}}}}),
    );
    let decision = decided(&operation, vec![sandbox]);
    let expected = json!({
        "metadata": {"labels": {LABEL: "roll", FAILED: null}},
        "spec": {
            "upgradePolicy": {"type": "Recreate"},
            "lifecycle": {"preUpgrade": {"exec": {"command": ["a"]}, "timeoutSeconds": 60}},
            "template": {"spec": {"containers": [
                {"name": "main", "image": "new", "env": [{"name": "A", "value": "1"}]}, {"name": "side", "image": "s"},
            ]}},
        },
    });
    assert_eq!(patches(&decision), [("one".to_owned(), expected)]);
    assert_eq!(counts(&decision), (Some(UpdateOpsPhase::Updating), [1, 0, 1, 0]));
    assert_eq!(says(&decision, "Completed"), "False/Updating: 0 of 1 sandboxes upgraded");
}

#[test]
fn a_member_that_the_patch_takes_away_is_written_as_gone() {
    let operation = operation(
        &json!({"spec": {"patch": {"metadata": {"labels": {"old": null}}, "spec": {"containers": null}}}}),
    );
    let sandbox =
        matched("one", &json!({"spec": {"template": {"metadata": {"labels": {"old": "1", "keep": "me"}}}}}));
    let patch = patches(&decided(&operation, vec![sandbox]))[0].1.clone();
    assert_eq!(patch["spec"]["template"], json!({"metadata": {"labels": {"old": null}}}));
}

#[rstest]
#[case::alone(json!(null), 5, 0, 0, 1)]
#[case::number(json!(3), 5, 0, 0, 3)]
#[case::share_rounded_up(json!("30%"), 5, 0, 0, 2)]
#[case::nothing_is_one(json!(0), 5, 0, 0, 1)]
#[case::some_at_work(json!(3), 5, 2, 0, 1)]
#[case::failed_ones_use_it_up(json!(3), 5, 1, 2, 0)]
#[case::more_than_there_are(json!(9), 2, 0, 0, 2)]
fn no_more_are_begun_than_may_be_unavailable(
    #[case] limit: Value,
    #[case] candidates: usize,
    #[case] at_work: usize,
    #[case] failed: usize,
    #[case] started: usize,
) {
    let mut operation = operation(&json!({}));
    operation.spec.update_strategy =
        serde_json::from_value(json!({"maxUnavailable": limit})).expect("a strategy");
    let marked = json!({"metadata": {"labels": {FAILED: "true"}}});
    let mut all: Vec<_> = (0..candidates).rev().map(|n| matched(&format!("c{n}"), &json!({}))).collect();
    all.extend((0..at_work).map(|n| begun(&format!("w{n}"), Some(("False", "UpgradePod")), &json!({}))));
    all.extend((0..failed).map(|n| begun(&format!("f{n}"), Some(("False", "UpgradePodFailed")), &marked)));
    let decision = decided(&operation, all);
    let expected: Vec<_> = (0..started).map(|n| format!("c{n}")).collect();
    assert_eq!(names(&decision), expected, "in the order of their names");
    let updating = i32::try_from(at_work + started).expect("few");
    assert_eq!(counts(&decision).1[2], updating);
    operation.spec.paused = true;
    assert!(names(&decided(&operation, vec![matched("c0", &json!({}))])).is_empty(), "nothing while paused");
}

// what is none of the operation's business
#[rstest]
#[case::as_the_patch_has_it(json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "new"}]}}}}))]
#[case::of_a_pool(json!({"metadata": {"ownerReferences": [
    {"apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxSet", "name": "pool", "uid": "s", "controller": true},
]}}))]
#[case::deleted(json!({"metadata": {"deletionTimestamp": at(0)}}))]
#[case::ended(json!({"status": {"phase": "Failed"}}))]
#[case::starting(json!({"status": {"phase": "Pending"}}))]
#[case::paused(json!({"spec": {"paused": true}, "status": {"phase": "Paused"}}))]
#[case::not_matched(json!({"metadata": {"labels": {"app": "y"}}}))]
fn others_are_skipped_and_not_counted(#[case] change: Value) {
    let decision = decided(&operation(&json!({})), vec![matched("one", &change)]);
    assert!(names(&decision).is_empty());
    assert_eq!(counts(&decision), (Some(UpdateOpsPhase::Completed), [0; 4]));
}

// what is counted, and what is written, of a sandbox that was begun with
#[rstest]
#[case::not_seen_yet(begun("a", Some(("True", "Succeeded")), &json!({"status": {"observedGeneration": 2}})), [1, 0, 1, 0], None)]
#[case::at_work(begun("a", Some(("False", "PostUpgrade")), &json!({"status": {"phase": "Upgrading"}})), [1, 0, 1, 0], None)]
#[case::done(begun("a", Some(("True", "Succeeded")), &json!({})), [1, 1, 0, 0],
    Some(json!({"metadata": {"labels": {FAILED: null}}, "spec": {"upgradePolicy": null}})))]
#[case::done_and_paused_again(begun("a", Some(("True", "Succeeded")), &json!({"spec": {"paused": true}, "status": {"phase": "Paused"}})),
    [1, 1, 0, 0], Some(json!({"metadata": {"labels": {FAILED: null}}, "spec": {"upgradePolicy": null}})))]
#[case::done_and_written(begun("a", Some(("True", "Succeeded")), &json!({"spec": {"upgradePolicy": null}, "status": {"observedGeneration": 2}})),
    [1, 1, 0, 0], None)]
#[case::had_nothing_to_do(begun("a", None, &json!({"spec": {"upgradePolicy": null}})), [1, 1, 0, 0], None)]
#[case::failed(begun("a", Some(("False", "UpgradePodFailed")), &json!({"status": {"phase": "Upgrading"}})), [1, 0, 0, 1],
    Some(json!({"metadata": {"labels": {FAILED: "true"}}})))]
#[case::failed_and_written(begun("a", Some(("False", "PreUpgradeFailed")), &json!({"metadata": {"labels": {FAILED: "true"}}})), [1, 0, 0, 1], None)]
#[case::ended_on_the_way(begun("a", Some(("False", "UpgradePod")), &json!({"status": {"phase": "Failed"}})), [1, 0, 0, 1],
    Some(json!({"metadata": {"labels": {FAILED: "true"}}})))]
#[case::succeeded_after_all(begun("a", Some(("True", "Succeeded")), &json!({"metadata": {"labels": {FAILED: "true"}}})), [1, 1, 0, 0],
    Some(json!({"metadata": {"labels": {FAILED: null}}, "spec": {"upgradePolicy": null}})))]
#[case::relabelled_by_its_user(begun("a", Some(("False", "UpgradePod")), &json!({"metadata": {"labels": {"app": "y"}}})), [1, 0, 1, 0], None)]
fn sandboxes_that_were_begun_with(
    #[case] sandbox: Sandbox,
    #[case] counted: [i32; 4],
    #[case] written: Option<Value>,
) {
    let decision = decided(&operation(&json!({})), vec![sandbox]);
    assert_eq!(counts(&decision).1, counted);
    assert_eq!(
        patches(&decision).into_iter().map(|(_, patch)| patch).collect::<Vec<_>>(),
        written.into_iter().collect::<Vec<_>>()
    );
}

#[test]
fn it_ends_only_when_every_outcome_is_written_down() {
    let operation = operation(
        &json!({"status": {"phase": "Updating", "replicas": 1, "updatedReplicas": 1, "failedReplicas": 0, "updatingReplicas": 0}}),
    );
    let open = decided(&operation, vec![begun("a", Some(("True", "Succeeded")), &json!({}))]);
    assert_eq!(counts(&open), (Some(UpdateOpsPhase::Updating), [1, 1, 0, 0]));
    let settled = || begun("a", Some(("True", "Succeeded")), &json!({"spec": {"upgradePolicy": null}}));
    let done = decided(&operation, vec![settled()]);
    assert_eq!(counts(&done).0, Some(UpdateOpsPhase::Completed));
    assert_eq!(says(&done, "Completed"), "True/AllReplicasUpdated: 1 of 1 sandboxes upgraded");
    assert_eq!(
        done.events[0].message,
        "phase changed from Updating to Completed: total 1, updated 1, updating 0, failed 0"
    );
    let failed =
        begun("b", Some(("False", "UpgradePodFailed")), &json!({"metadata": {"labels": {FAILED: "true"}}}));
    let ended = decided(&operation, vec![settled(), failed]);
    assert_eq!(counts(&ended), (Some(UpdateOpsPhase::Failed), [2, 1, 0, 1]));
    assert_eq!(says(&ended, "Failed"), "True/UpgradeFailed: Sandbox b: UpgradePodFailed: the words");
    let mut over = operation;
    over.status = ended.status;
    assert_eq!(decided(&over, vec![matched("late", &json!({}))]), OperationDecision::default(), "final");
}

#[test]
fn one_that_failed_stops_it_and_it_says_which_and_why() {
    let failed = begun("b", Some(("False", "UpgradePodFailed")), &json!({"status": {"phase": "Upgrading"}}));
    let decision = decided(&operation(&json!({})), vec![failed, matched("a", &json!({}))]);
    assert_eq!(names(&decision), ["b"], "only the mark");
    let OperationAction::Patch { event: Some(event), .. } = &decision.actions[0] else { panic!("an event") };
    assert_eq!(
        (event.reason.as_str(), event.message.as_str()),
        ("SandboxUpgradeFailed", "Sandbox b was not upgraded: UpgradePodFailed: the words")
    );
    let what = says(&decision, "Completed");
    assert!(
        what.starts_with("False/MaxUnavailableFailed: 0 of 2 sandboxes upgraded; as many have failed"),
        "{what}"
    );
    assert!(what.ends_with("Sandbox b: UpgradePodFailed: the words"), "{what}");
}

#[test]
fn what_an_earlier_operation_left_on_its_way_is_taken_over() {
    let stuck =
        json!({"metadata": {"labels": {LABEL: "before", FAILED: "true"}}, "status": {"phase": "Upgrading"}});
    let decision =
        decided(&operation(&json!({})), vec![begun("a", Some(("False", "UpgradePodFailed")), &stuck)]);
    let patch = patches(&decision)[0].1.clone();
    assert_eq!(patch["metadata"]["labels"], json!({LABEL: "roll", FAILED: null}));
}

#[test]
fn a_paused_sandbox_is_woken_first_and_patched_when_it_is_awake() {
    let operation = operation(&json!({"spec": {"stateFilter": {"states": ["Paused"]}}}));
    let paused = |is_true: &str| {
        let condition = json!([{"type": "SandboxPaused", "status": is_true, "reason": "R", "message": "", "lastTransitionTime": at(0)}]);
        matched(
            "one",
            &json!({"spec": {"paused": true}, "status": {"phase": "Paused", "conditions": condition}}),
        )
    };
    let pausing = decided(&operation, vec![paused("False")]);
    assert_eq!(
        (counts(&pausing), names(&pausing).len()),
        ((Some(UpdateOpsPhase::Updating), [1, 0, 0, 0]), 0)
    );
    let woken = patches(&decided(&operation, vec![paused("True")]))[0].1.clone();
    assert_eq!(woken["metadata"]["annotations"], json!({TRIGGER: "true"}));
    assert_eq!(woken["spec"], json!({"upgradePolicy": {"type": "Recreate"}, "lifecycle": null}));

    let old = json!({
        "metadata": {"annotations": {TRIGGER: "true"}},
        "spec": {"paused": true, "template": {"spec": {"containers": [{"name": "main", "image": "img"}]}}},
        "status": {"phase": "Upgrading"},
    });
    let resuming = decided(&operation, vec![begun("one", Some(("False", "Resuming")), &old)]);
    assert_eq!((counts(&resuming).1, names(&resuming).len()), ([1, 0, 1, 0], 0));
    let awake = begun("one", Some(("False", "ResumeSucceed")), &old);
    let patched = patches(&decided(&operation, vec![awake.clone()]))[0].1.clone();
    assert_eq!(
        patched,
        json!({
            "metadata": {"annotations": {TRIGGER: null}},
            "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "new"}]}}},
        })
    );
    let mut running = awake;
    let status = running.status.as_mut().expect("a status");
    status.phase = SandboxPhase::Running;
    conditions::remove(&mut status.conditions, types::UPGRADING);
    assert_eq!(names(&decided(&operation, vec![running])), ["one"], "woken by its user meanwhile");
}

#[rstest]
#[case::reference(json!({}), json!({"spec": {"template": null, "templateRef": {"name": "t"}}}), "templateRef names SandboxTemplate \"t\"")]
#[case::no_name(json!({"spec": {"patch": {"spec": {"containers": [{"image": "x"}]}}}}), json!({}), "merge key: name")]
#[case::no_pod(json!({"spec": {"patch": {"spec": {"containers": "none"}}}}), json!({}), "cannot be read")]
#[case::nothing_left(json!({"spec": {"patch": {"spec": {"containers": [{"name": "main", "$patch": "delete"}]}}}}), json!({}), "leaves no container")]
fn a_sandbox_that_the_patch_does_not_fit_is_left_alone_and_told(
    #[case] change: Value,
    #[case] of_sandbox: Value,
    #[case] why: &str,
) {
    let operation = operation(&change);
    let decision = decided(&operation, vec![matched("one", &of_sandbox)]);
    assert_eq!(counts(&decision), (Some(UpdateOpsPhase::Failed), [1, 0, 0, 1]));
    assert!(
        names(&decision).is_empty() && says(&decision, "Failed").contains(why),
        "{}",
        says(&decision, "Failed")
    );
    assert!(decision.events[0].reason == "PatchFailed" && decision.events[0].message.contains(why));
}

#[rstest]
#[case::image_from_a_checkpoint(json!({"spec": {"updateStrategy": {"type": "CheckpointRestore"}}}), "may not change images")]
#[case::selector(json!({"spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}), "selector")]
fn an_operation_that_can_not_be_carried_out_fails_at_once(#[case] change: Value, #[case] why: &str) {
    let decision = decided(&operation(&change), vec![matched("one", &json!({}))]);
    assert_eq!((counts(&decision).0, names(&decision).len()), (Some(UpdateOpsPhase::Failed), 0));
    let what = says(&decision, "Failed");
    assert!(what.starts_with("True/InvalidOperation") && what.contains(why), "{what}");
}

#[test]
fn one_at_a_time_and_with_a_finalizer() {
    let new = operation(&json!({"metadata": {"finalizers": []}}));
    let first = decided(&new, vec![matched("one", &json!({}))]);
    assert_eq!(first.actions, [OperationAction::AddFinalizer]);
    assert_eq!(counts(&first).0, Some(UpdateOpsPhase::Pending));
    let second = operation(&json!({}));
    let sandboxes = [Arc::new(matched("one", &json!({})))];
    let observed = Observed { operation: &second, sandboxes: &sandboxes, earlier: Some("other"), now: now() };
    let waits = operation::decide(&observed);
    assert_eq!((waits.actions.len(), counts(&waits).0), (0, Some(UpdateOpsPhase::Pending)));
    assert!(
        says(&waits, "Completed").starts_with("False/AnotherOperation: waits for SandboxUpdateOps other")
    );
}

#[test]
fn a_deleted_one_releases_its_sandboxes_and_goes() {
    let deleted = operation(&json!({"metadata": {"deletionTimestamp": at(0)}, "status":
        {"phase": "Failed", "replicas": 1, "updatedReplicas": 0, "failedReplicas": 1, "updatingReplicas": 0}}));
    let held = begun(
        "a",
        Some(("False", "Resuming")),
        &json!({"metadata": {"annotations": {TRIGGER: "true"}, "labels": {FAILED: "true"}}}),
    );
    let others = begun("b", None, &json!({"metadata": {"labels": {LABEL: "other"}}}));
    let decision = decided(&deleted, vec![held, others]);
    let expected = json!({
        "metadata": {"labels": {LABEL: null, FAILED: null}, "annotations": {TRIGGER: null}},
        "spec": {"upgradePolicy": null},
    });
    assert_eq!((patches(&decision), decision.actions.len()), (vec![("a".to_owned(), expected)], 1));
    assert_eq!(decided(&deleted, vec![matched("a", &json!({}))]).actions, [OperationAction::DropFinalizer]);
}
