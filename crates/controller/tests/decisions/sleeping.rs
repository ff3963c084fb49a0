//! A pod that its node keeps asleep while its sandbox is paused (`docs/design/0012-hibernation.md`).

use contract::crd::SandboxStatus;
use contract::hibernation::Verdict;
use contract::names::annotations;
use controller::sandbox::{Circumstances, Keeping, Kept, Unmounting, decide_about};

use super::*;

const WAKE: &str = "agents.kruise.io/upgrade-resume-trigger";

fn with(sandbox: &Sandbox, pod: Option<&Pod>, keeping: &Keeping, now: Timestamp) -> Decision {
    let circumstances = Circumstances {
        attempt: None,
        storage: &Verdict::Possible,
        recycling: None,
        kept: Kept::default(),
        keeping,
    };
    decide_about(sandbox, pod, circumstances, now)
}

/// A Sandbox that was told to pause at [`now`]; its finalizer is there.
fn pausing() -> Sandbox {
    let mut sandbox = sandbox(&json!({
        "metadata": {"finalizers": ["agents.kruise.io/sandbox"]},
        "spec": {"paused": true}, "status": {"phase": "Paused"},
    }));
    let status: &mut SandboxStatus = sandbox.status.get_or_insert_default();
    conditions::set(&mut status.conditions, types::SANDBOX_PAUSED, false, "Pending", "", now());
    sandbox
}

/// The pod as it says how far it is: annotation, and condition with its status.
fn sleeper(wanted: bool, answer: Option<&str>) -> Pod {
    let mut change = ready(if answer == Some("True") { "False" } else { "True" });
    if wanted {
        change["metadata"] = json!({"annotations": {annotations::HIBERNATE: "true"}});
    }
    if let Some(answer) = answer {
        let condition = json!({"type": types::HIBERNATED, "status": answer, "message": "a container ended"});
        change["status"]["conditions"].as_array_mut().expect("a list").push(condition);
    }
    pod("Running", &change)
}

fn keeps(unmounting: Option<Unmounting>) -> Keeping {
    Keeping { node_keeps: true, unmounting, is_current: true }
}

fn uid() -> String {
    "pod-uid".to_owned()
}

fn paused_says(decision: &Decision) -> String {
    let status = decision.status.as_ref().expect("a status");
    let found = conditions::find(&status.conditions, types::SANDBOX_PAUSED).expect("a condition");
    format!("{}/{} {}", found.status, found.reason, found.message).trim_end().to_owned()
}

#[rstest]
#[case::not_kept(sleeper(false, None), Keeping::default(), Some(Action::StopPod { uid: uid() }), false)]
#[case::first_unmounted(sleeper(false, None), keeps(None), Some(Action::UnmountForPause { pod: uid() }), false)]
#[case::at_it(sleeper(false, None), keeps(Some(Unmounting::Running)), None, false)]
#[case::unmounted(sleeper(false, None), keeps(Some(Unmounting::Succeeded)), Some(Action::PutPodToSleep { uid: uid() }), false)]
#[case::still_mounted(sleeper(false, None), keeps(Some(Unmounting::Failed("busy".into()))), Some(Action::StopPod { uid: uid() }), true)]
#[case::falling_asleep(sleeper(true, None), keeps(None), None, false)]
#[case::lost(sleeper(true, Some("False")), keeps(None), Some(Action::StopPod { uid: uid() }), true)]
#[case::lost_and_awake(sleeper(false, Some("False")), keeps(None), Some(Action::StopPod { uid: uid() }), true)]
fn a_pause_is_not_complete_before_the_pod_sleeps(
    #[case] pod: Pod,
    #[case] keeping: Keeping,
    #[case] action: Option<Action>,
    #[case] is_told: bool,
) {
    let decision = with(&pausing(), Some(&pod), &keeping, now());
    assert_eq!((phase_of(&decision), decision.actions.first()), ("Paused", action.as_ref()));
    assert_eq!(paused_says(&decision), "False/Pending");
    assert_eq!(reasons(&decision), if is_told { vec!["MemoryNotKept"] } else { vec![] });
}

#[test]
fn a_pause_is_complete_with_a_pod_that_sleeps() {
    let decision = with(&pausing(), Some(&sleeper(true, Some("True"))), &Keeping::default(), now());
    assert_eq!((phase_of(&decision), decision.actions.len(), decision.wake_at), ("Paused", 0, None));
    let kept = "True/StopPauseSucceed the pod is kept asleep: its processes with their memory, and its files";
    assert_eq!(paused_says(&decision), kept);
    let mut paused = pausing();
    paused.status = decision.status;
    let again = with(&paused, Some(&sleeper(true, Some("True"))), &Keeping::default(), now());
    assert_eq!((again.status, again.events.len()), (paused.status.clone(), 0), "nothing more to do");
    let gone = with(&paused, None, &Keeping::default(), now());
    let told = "True/StopPauseSucceed the pod is gone, another one is made at the wake-up";
    assert_eq!((paused_says(&gone).as_str(), gone.actions.len()), (told, 0));
}

#[test]
fn a_pod_that_does_not_fall_asleep_in_time_goes() {
    let late = now() + SignedDuration::from_secs(40);
    for keeping in [keeps(None), keeps(Some(Unmounting::Running))] {
        let first = with(&pausing(), Some(&sleeper(true, None)), &keeping, now());
        assert_eq!((first.wake_at, first.actions.len()), (Some(late), 0));
        let last = with(&pausing(), Some(&sleeper(true, None)), &keeping, late);
        assert_eq!(last.actions, [Action::StopPod { uid: uid() }]);
        assert!(last.events[0].message.contains("not asleep within 40 s"), "{:?}", last.events);
    }
}

fn waking(change: &Value) -> Sandbox {
    let mut sandbox = pausing();
    let mut json = json!(sandbox);
    merge(&mut json, &json!({"spec": {"paused": false}, "status": {"phase": "Resuming"}}));
    merge(&mut json, change);
    sandbox.clone_from(&serde_json::from_value(json).expect("a Sandbox"));
    sandbox
}

#[rstest]
#[case::asleep(sleeper(true, Some("True")), true, Some(Action::WakePod { uid: uid() }), "Resuming", false)]
#[case::on_its_way(sleeper(false, Some("True")), true, None, "Resuming", false)]
#[case::awake(sleeper(false, None), true, None, "Running", false)]
#[case::lost(sleeper(true, Some("False")), true, Some(Action::StopPod { uid: uid() }), "Resuming", true)]
#[case::other_configuration(sleeper(true, Some("True")), false, Some(Action::StopPod { uid: uid() }), "Resuming", true)]
#[case::other_configuration_and_a_new_pod(sleeper(false, None), false, None, "Running", false)]
fn a_wake_up_wakes_the_pod_that_would_be_made_now(
    #[case] pod: Pod,
    #[case] is_current: bool,
    #[case] action: Option<Action>,
    #[case] phase: &str,
    #[case] is_told: bool,
) {
    let keeping = Keeping { is_current, ..Keeping::default() };
    let decision = with(&waking(&json!({})), Some(&pod), &keeping, now());
    assert_eq!((phase_of(&decision), decision.actions.first()), (phase, action.as_ref()));
    assert_eq!(reasons(&decision).contains(&"MemoryNotKept"), is_told);
}

#[test]
fn a_template_that_changed_while_paused_takes_a_new_pod() {
    let other =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "another"}]}}}});
    let keeping = Keeping { is_current: true, ..Keeping::default() };
    let decision = with(&waking(&other), Some(&sleeper(true, Some("True"))), &keeping, now());
    assert_eq!(decision.actions, [Action::StopPod { uid: uid() }]);
    assert_eq!(reasons(&decision), ["MemoryNotKept"]);
    let gone = with(&waking(&other), None, &keeping, now());
    assert!(gone.actions.contains(&Action::CreatePod), "{:?}", gone.actions);
}

#[test]
fn an_upgrade_wakes_the_pod_as_it_is() {
    let mut paused = pausing();
    paused.metadata.annotations.get_or_insert_default().insert(WAKE.into(), "true".into());
    let begun = with(&paused, Some(&sleeper(true, Some("True"))), &Keeping::default(), now());
    assert_eq!((phase_of(&begun), begun.actions.len()), ("Upgrading", 0));
    paused.status = begun.status;
    let asleep = with(&paused, Some(&sleeper(true, Some("True"))), &Keeping::default(), now());
    assert_eq!(asleep.actions, [Action::WakePod { uid: uid() }]);
    let awake = with(&paused, Some(&sleeper(false, None)), &Keeping::default(), now());
    assert_eq!((phase_of(&awake), awake.actions.len()), ("Upgrading", 0), "it waits for its template");
}

#[test]
fn a_deleted_sandbox_takes_its_sleeping_pod_along() {
    let mut deleted = pausing();
    deleted.metadata.deletion_timestamp = serde_json::from_value(json!(at(0))).expect("a time");
    let decision = with(&deleted, Some(&sleeper(true, Some("True"))), &Keeping::default(), now());
    assert_eq!(decision.actions, [Action::DeletePod { uid: uid() }]);
}

#[test]
fn a_pod_says_what_else_it_was_made_of() {
    let template = |image: &str| {
        serde_json::from_value(json!({"spec": {"containers": [{"name": "main", "image": image}]}}))
            .expect("a template")
    };
    let config = |data: &Value| serde_json::from_value(json!({"data": data})).expect("a ConfigMap");
    let made_of = |sandbox: &Sandbox, image: &str, data: &Value| {
        let parts = build_pod(sandbox, template(image), Some(&config(data))).expect("a pod");
        parts.pod.metadata.annotations.and_then(|notes| notes.get(annotations::MADE_OF).cloned())
    };
    let plain = in_phase("Running");
    let without = made_of(&plain, "a", &json!({}));
    assert!(without.is_some());
    assert_eq!(made_of(&plain, "b", &json!({"x": "y"})), without, "the Sandbox holds its template");
    let referring = sandbox(&json!({"spec": {"template": null, "templateRef": {"name": "t"}}}));
    assert_ne!(made_of(&referring, "a", &json!({})), made_of(&referring, "b", &json!({})));
}
