//! Pause, wake-up and the deadlines (`kubernetes.md` §5.6, §5.7, DECISIONS 2 to 4).

use contract::crd::SandboxStatus;
use contract::errors::{Code, Problem};
use contract::hibernation::Verdict;
use controller::sandbox::decide_with;

use super::*;

const KEPT: &str = "agents.kruise.io/reserve-paused-sandbox-duration";
const FINALIZER: &str = "agents.kruise.io/sandbox";

fn nas() -> Verdict {
    Verdict::Refused(Problem::new(Code::StorageNotHibernatable, "data is NAS"))
}

/// A Sandbox with `spec.paused`, in that phase.
fn paused(phase: &str) -> Sandbox {
    sandbox(&json!({"spec": {"paused": true}, "status": {"phase": phase}}))
}

fn with_conditions(mut sandbox: Sandbox, conditions: &[(&str, bool, &str)]) -> Sandbox {
    let status = sandbox.status.get_or_insert_default();
    for (kind, is_true, reason) in conditions {
        conditions::set(&mut status.conditions, kind, *is_true, reason, "", now());
    }
    sandbox
}

fn held(mut sandbox: Sandbox) -> Sandbox {
    sandbox.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    sandbox
}

/// What a condition says: status/reason.
fn says(decision: &Decision, kind: &str) -> Option<String> {
    let status: &SandboxStatus = decision.status.as_ref()?;
    let found = conditions::find(&status.conditions, kind)?;
    Some(format!("{}/{}", found.status, found.reason))
}

/// The Sandbox with the status that was decided on.
fn after(mut sandbox: Sandbox, decision: Decision) -> Sandbox {
    sandbox.status = decision.status;
    sandbox
}

#[test]
fn a_pause_is_written_down_before_the_pod_is_touched() {
    let before = with_conditions(
        paused("Running"),
        &[(types::READY, true, "PodReady"), (types::SANDBOX_RESUMED, true, "ResumePod")],
    );
    let decision = decide(&before, Some(&pod("Running", &ready("True"))), None, now());
    assert_eq!((phase_of(&decision), decision.actions.len()), ("Paused", 0));
    assert_eq!(says(&decision, types::SANDBOX_PAUSED), Some("False/Pending".to_owned()));
    assert_eq!(says(&decision, types::READY), Some("False/PodReady".to_owned()));
    assert_eq!(says(&decision, types::SANDBOX_RESUMED), None);
    assert_eq!(reasons(&decision), ["SandboxPaused"]);
}

#[rstest]
#[case::alive(Some(pod("Running", &ready("True"))), vec![Action::AddFinalizer, Action::StopPod { uid: "pod-uid".into() }], "False/Pending")]
#[case::going(Some(pod("Running", &json!({"metadata": {"deletionTimestamp": at(0)}}))), vec![Action::AddFinalizer], "False/Pending")]
#[case::gone(None, vec![Action::AddFinalizer], "True/StopPauseSucceed")]
#[case::of_somebody_else(Some(pod("Running", &json!({"metadata": {"ownerReferences": []}}))), vec![Action::AddFinalizer], "True/StopPauseSucceed")]
fn a_pause_is_complete_when_the_pod_is_gone(
    #[case] pod: Option<Pod>,
    #[case] actions: Vec<Action>,
    #[case] condition: &str,
) {
    let pausing = with_conditions(paused("Paused"), &[(types::SANDBOX_PAUSED, false, "Pending")]);
    let decision = decide(&pausing, pod.as_ref(), None, now());
    assert_eq!((phase_of(&decision), &decision.actions), ("Paused", &actions));
    assert_eq!(says(&decision, types::SANDBOX_PAUSED), Some(condition.to_owned()));
    let without_finalizer = decide(&held(pausing), pod.as_ref(), None, now()).actions;
    assert_eq!(without_finalizer, actions[1..]);
}

#[test]
fn a_paused_sandbox_keeps_its_revision_and_is_left_alone() {
    let mut still =
        held(with_conditions(paused("Paused"), &[(types::SANDBOX_PAUSED, true, "StopPauseSucceed")]));
    let status = still.status.get_or_insert_default();
    (status.update_revision, status.observed_generation) = (Some("old".to_owned()), Some(3));
    status.conditions[0].message = "the pod is gone, another one is made at the wake-up".to_owned();
    let decision = decide(&still, None, None, now());
    assert_eq!((&decision.status, decision.actions.len(), decision.wake_at), (&still.status, 0, None));
}

#[rstest]
#[case::still_pausing(Some(pod("Running", &json!({"metadata": {"deletionTimestamp": at(0)}}))), "Paused", None)]
#[case::paused(None, "Resuming", Some("False/CreatePod".to_owned()))]
fn a_wake_up_waits_for_the_end_of_the_pause(
    #[case] pod: Option<Pod>,
    #[case] phase: &str,
    #[case] resumed: Option<String>,
) {
    let woken = with_conditions(in_phase("Paused"), &[(types::SANDBOX_PAUSED, false, "Pending")]);
    let decision = decide(&held(woken), pod.as_ref(), None, now());
    assert_eq!((phase_of(&decision), says(&decision, types::SANDBOX_RESUMED)), (phase, resumed));
    assert!(decision.actions.is_empty(), "the phase is written before a pod is made");
}

#[rstest]
#[case::none(None, vec![Action::CreatePod], "Resuming", &[])]
#[case::old_one(Some(pod("Running", &json!({"metadata": {"deletionTimestamp": at(0)}}))), vec![], "Resuming", &[])]
#[case::foreign(Some(pod("Running", &json!({"metadata": {"ownerReferences": []}}))), vec![], "Resuming", &["PodOwnerMismatch"])]
#[case::not_running(Some(pod("Pending", &json!({}))), vec![], "Resuming", &[])]
#[case::failed(Some(pod("Failed", &json!({}))), vec![], "Failed", &["SandboxFailed"])]
#[case::running(Some(pod("Running", &ready("False"))), vec![], "Running", &["SandboxRunning"])]
fn a_wake_up_makes_a_pod_and_waits_for_it(
    #[case] pod: Option<Pod>,
    #[case] actions: Vec<Action>,
    #[case] phase: &str,
    #[case] events: &[&str],
) {
    let sleeper = held(in_phase("Resuming"));
    let waking = with_conditions(
        with_immutable_hash(sleeper.clone(), &hash::immutable_part(&sleeper)),
        &[(types::SANDBOX_PAUSED, true, "StopPauseSucceed"), (types::SANDBOX_RESUMED, false, "CreatePod")],
    );
    let decision = decide(&waking, pod.as_ref(), None, now());
    assert_eq!((phase_of(&decision), &decision.actions), (phase, &actions));
    assert_eq!(reasons(&decision), events);
    let (paused, resumed) = (says(&decision, types::SANDBOX_PAUSED), says(&decision, types::SANDBOX_RESUMED));
    if phase == "Running" {
        assert_eq!((paused, resumed), (None, Some("True/ResumePod".to_owned())));
        assert_eq!(says(&decision, types::RUNTIME_INITIALIZED), Some("False/Pending".to_owned()));
        let next = decide(&after(waking, decision), pod.as_ref(), None, now());
        assert_eq!(next.actions, [Action::DropFinalizer], "the pause is over");
    } else {
        assert_eq!(
            (paused, resumed),
            (Some("True/StopPauseSucceed".to_owned()), Some("False/CreatePod".to_owned()))
        );
    }
}

#[test]
fn a_woken_sandbox_is_held_until_its_mounts_are_back_whatever_its_container_is_called() {
    let claimed = json!({"metadata": {"annotations": {"e2b.agents.kruise.io/csi-volume-config": "[]"}}});
    let container = json!({"status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "containerID": "the-same-id", "state": {"running": {}}}],
    }});
    let mut before = sandbox(&claimed);
    merge_into(&mut before, &json!({"spec": {"paused": true}, "status": {"phase": "Running"}}));
    let running = pod("Running", &container);
    let paused = after(before.clone(), decide(&before, Some(&running), None, now()));
    let gone = after(paused.clone(), decide(&held(paused), None, None, now()));
    let mut woken = gone.clone();
    woken.spec.paused = false;
    let waking = after(woken.clone(), decide(&held(woken), None, None, now()));
    for (pod, starts) in [(pod("Running", &ready("True")), false), (running, true)] {
        let decision = decide(&held(waking.clone()), Some(&pod), None, now());
        assert_eq!(says(&decision, types::READY), Some("False/RuntimeNotInitialized".to_owned()));
        let expected = Action::InitialiseRuntime { container: "the-same-id".to_owned() };
        assert_eq!(decision.actions.contains(&expected), starts, "{:?}", decision.actions);
    }
}

fn merge_into(sandbox: &mut Sandbox, change: &Value) {
    let mut json = json!(sandbox);
    merge(&mut json, change);
    *sandbox = serde_json::from_value(json).expect("a Sandbox");
}

// DECISIONS 2
#[test]
fn a_refused_pause_is_told_once_per_generation_and_looked_at_again() {
    let asked = with_conditions(paused("Running"), &[(types::READY, true, "PodReady")]);
    let pod = pod("Running", &ready("True"));
    let first = decide_with(&asked, Some(&pod), None, &nas(), now());
    assert_eq!((phase_of(&first), first.actions.len()), ("Running", 0));
    assert_eq!(says(&first, types::SANDBOX_PAUSED), Some("False/StorageNotHibernatable".to_owned()));
    assert_eq!(says(&first, types::READY), Some("True/PodReady".to_owned()));
    assert_eq!(
        (reasons(&first), &first.events[0].message[..]),
        (vec!["StorageNotHibernatable"], "data is NAS")
    );
    assert_eq!(first.wake_at, Some(now() + SignedDuration::from_secs(60)));

    let mut again = after(asked, first.clone());
    let second = decide_with(&again, Some(&pod), None, &nas(), now());
    assert_eq!((&second.status, second.events.len()), (&first.status, 0));
    again.metadata.generation = Some(4);
    assert_eq!(reasons(&decide_with(&again, Some(&pod), None, &nas(), now())), ["StorageNotHibernatable"]);
    let allowed = decide(&again, Some(&pod), None, now());
    assert_eq!(phase_of(&allowed), "Paused", "the storage has changed");
    again.spec.paused = false;
    let cleared = decide(&again, Some(&pod), None, now());
    assert_eq!((says(&cleared, types::SANDBOX_PAUSED), phase_of(&cleared)), (None, "Running"));
}

// §5.7
fn until(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

#[rstest]
#[case::reached(json!({"pauseTime": at(0)}), None, vec![Action::PauseByDeadline { kept_until: None }], None)]
#[case::with_an_end(json!({"pauseTime": at(-1), "shutdownTime": at(50)}), None, vec![Action::PauseByDeadline { kept_until: None }], Some(50_001))]
#[case::kept(json!({"pauseTime": at(-1), "shutdownTime": at(50)}), Some("1h"), vec![Action::PauseByDeadline { kept_until: Some(until(3600)) }], Some(50_001))]
#[case::kept_for_ever(json!({"pauseTime": at(-1), "shutdownTime": at(50)}), Some("forever"), vec![Action::PauseByDeadline { kept_until: Some(until(100 * 365 * 24 * 3600)) }], Some(50_001))]
#[case::kept_and_late(json!({"pauseTime": at(-60), "shutdownTime": at(-1)}), Some("1h"), vec![Action::PauseByDeadline { kept_until: Some(until(3600)) }], None)]
#[case::late(json!({"pauseTime": at(-60), "shutdownTime": at(-1)}), None, vec![Action::DeleteSandbox], None)]
#[case::kept_without_an_end(json!({"pauseTime": at(-1)}), Some("1h"), vec![Action::PauseByDeadline { kept_until: None }], None)]
#[case::not_yet(json!({"pauseTime": at(20), "shutdownTime": at(50)}), None, vec![], Some(20_000))]
#[case::never(json!({}), None, vec![], None)]
fn the_pause_time(
    #[case] spec: Value,
    #[case] kept: Option<&str>,
    #[case] actions: Vec<Action>,
    #[case] wakes_in: Option<i64>,
) {
    let mut change = json!({"spec": spec, "status": {"phase": "Running"}});
    if let Some(kept) = kept {
        change["metadata"] = json!({"annotations": {KEPT: kept}});
    }
    let decision = decide(&sandbox(&change), Some(&pod("Running", &ready("True"))), None, now());
    assert_eq!(decision.actions, actions);
    assert_eq!(decision.wake_at, wakes_in.map(|wait| now() + SignedDuration::from_millis(wait)));
}

#[rstest]
#[case::paused_already(json!({"spec": {"paused": true, "pauseTime": at(-1), "shutdownTime": at(9)}, "status": {"phase": "Paused"}}), Some(9001))]
#[case::finished(json!({"spec": {"pauseTime": at(-1)}, "status": {"phase": "Failed"}}), None)]
fn nothing_is_paused_twice_or_after_its_end(#[case] change: Value, #[case] wakes_in: Option<i64>) {
    let decision = decide(&held(sandbox(&change)), None, None, now());
    assert!(decision.actions.is_empty(), "{:?}", decision.actions);
    assert_eq!(decision.wake_at, wakes_in.map(|wait| now() + SignedDuration::from_millis(wait)));
}

// DECISIONS 3
#[test]
fn an_automatic_pause_that_the_storage_forbids_is_told_once_and_the_end_still_comes() {
    let change = json!({
        "metadata": {"annotations": {KEPT: "1h"}},
        "spec": {"pauseTime": at(-1), "shutdownTime": at(50)}, "status": {"phase": "Running"},
    });
    let (due, pod) = (sandbox(&change), pod("Running", &ready("True")));
    let first = decide_with(&due, Some(&pod), None, &nas(), now());
    assert_eq!((phase_of(&first), first.actions.len()), ("Running", 0));
    assert_eq!(says(&first, types::SANDBOX_PAUSED), Some("False/StorageNotHibernatable".to_owned()));
    assert_eq!(reasons(&first), ["StorageNotHibernatable"]);
    assert!(first.events[0].message.contains("automatic pause does not take place: data is NAS"));
    assert_eq!(first.wake_at, Some(now() + SignedDuration::from_millis(50_001)), "and not before");
    let told = after(due, first);
    assert!(decide_with(&told, Some(&pod), None, &nas(), until(30)).events.is_empty());
    assert_eq!(decide_with(&told, Some(&pod), None, &nas(), until(51)).actions, [Action::DeleteSandbox]);
}
