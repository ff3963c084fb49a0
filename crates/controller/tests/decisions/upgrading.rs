//! Replacing upgrade (`kubernetes.md` §5.9).

use std::sync::Arc;

use contract::crd::Checkpoint;
use contract::hibernation::Verdict;
use controller::sandbox::{Answer, Attempt, Circumstances, Hook, Keeping, Kept, Progress, decide_about};
use kube::ResourceExt as _;
use rstest::rstest;

use super::*;

/// A claimed Sandbox of that image and with that policy whose main container `a` was initialised.
fn upgraded_to(image: &str, policy: &str, phase: &str) -> Sandbox {
    let sandbox = sandbox(&json!({
        "metadata": {"annotations": {"e2b.agents.kruise.io/csi-volume-config": "[]"}},
        "spec": {
            "upgradePolicy": {"type": policy},
            "template": {"spec": {"containers": [{"name": "main", "image": image, "command": ["x"]}]}},
        },
        "status": {"phase": phase, "podInfo": {"annotations": {"agents.kruise.io/initialized-container": "a"}}},
    }));
    with_immutable_hash(sandbox.clone(), &hash::immutable_part(&sandbox))
}

fn after(mut sandbox: Sandbox, decision: &Decision) -> Sandbox {
    sandbox.status.clone_from(&decision.status);
    sandbox
}

fn says(decision: &Decision, kind: &str) -> Option<String> {
    let found = conditions::find(&decision.status.as_ref()?.conditions, kind)?;
    Some(format!("{}/{}", found.status, found.reason))
}

/// The new pod of `sandbox`, with its main container in that state.
fn new_pod(sandbox: &Sandbox, state: &Value) -> Pod {
    let is_running = !state["running"].is_null();
    let change = json!({
        "metadata": {"uid": "new-uid", "labels": {"pod-template-hash": hash::update_revision(sandbox)}},
        "status": {
            "conditions": [{"type": "Ready", "status": if is_running { "True" } else { "False" }}],
            "containerStatuses": [{"name": "main", "image": "new", "imageID": "i", "ready": is_running, "restartCount": 0,
                "containerID": "b", "state": state}],
        },
    });
    pod("Running", &change)
}

#[test]
fn the_pod_is_replaced_and_the_mounts_come_back_before_the_sandbox_runs() {
    let sandbox = upgraded_to("new", "Recreate", "Running");
    let old = pod("Running", &ready("True"));
    let begun = decide(&sandbox, Some(&old), None, now());
    assert_eq!((phase_of(&begun), begun.actions.len()), ("Upgrading", 0), "the phase is written first");
    assert_eq!(says(&begun, types::UPGRADING).as_deref(), Some("False/UpgradePod"));
    assert_eq!(says(&begun, types::READY).as_deref(), Some("False/Upgrading"));
    let sandbox = after(sandbox, &begun);
    let second = decide(&sandbox, Some(&old), None, now());
    assert_eq!(second.actions, [Action::DeletePod { uid: "pod-uid".to_owned() }]);
    let going = pod("Running", &json!({"metadata": {"deletionTimestamp": at(0)}}));
    assert!(decide(&sandbox, Some(&going), None, now()).actions.is_empty(), "waits");
    assert_eq!(decide(&sandbox, None, None, now()).actions, [Action::CreatePod]);

    let starting = decide(
        &sandbox,
        Some(&new_pod(&sandbox, &json!({"waiting": {"reason": "ContainerCreating"}}))),
        None,
        now(),
    );
    assert_eq!(says(&starting, types::UPGRADING).as_deref(), Some("False/UpgradePod"));
    let pod = new_pod(&sandbox, &json!({"running": {}}));
    let held = decide(&sandbox, Some(&pod), None, now());
    assert_eq!(
        (phase_of(&held), says(&held, types::READY).as_deref()),
        ("Upgrading", Some("False/Upgrading"))
    );
    assert_eq!(held.actions, [Action::InitialiseRuntime { container: "b".to_owned() }]);
    let attempt = Attempt { container: "b".to_owned(), progress: Progress::Succeeded };
    let done = decide(&sandbox, Some(&pod), Some(&attempt), now());
    assert_eq!(phase_of(&done), "Running");
    assert_eq!(says(&done, types::UPGRADING).as_deref(), Some("True/Succeeded"));
    assert_eq!(says(&done, types::READY).as_deref(), Some("True/PodReady"));
    assert_eq!(
        reasons(&done),
        ["RuntimeInitialized", "UpgradePodReplaced", "UpgradeSucceeded", "SandboxRunning"]
    );
    let quiet = decide(&after(sandbox, &done), Some(&pod), None, now());
    assert_eq!((quiet.events.len(), quiet.status == done.status), (0, true));
}

#[test]
fn a_new_pod_that_does_not_start_is_told_once_and_another_template_goes_on_from_there() {
    let sandbox = upgraded_to("new", "Recreate", "Upgrading");
    let stuck =
        new_pod(&sandbox, &json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}));
    let first = decide(&sandbox, Some(&stuck), None, now());
    assert_eq!(says(&first, types::UPGRADING).as_deref(), Some("False/UpgradePodFailed"));
    assert_eq!(reasons(&first), ["UpgradePodFailed"]);
    assert!(first.events[0].message.contains("container main does not start: ErrImagePull: no such image"));
    assert!(decide(&after(sandbox, &first), Some(&stuck), None, now()).events.is_empty());
    let other = after(upgraded_to("other", "Recreate", "Upgrading"), &first);
    let again = decide(&other, Some(&stuck), None, now());
    assert_eq!(again.actions, [Action::DeletePod { uid: "new-uid".to_owned() }]);
    assert_eq!(says(&again, types::UPGRADING).as_deref(), Some("False/UpgradePod"));
}

/// A turn of a Sandbox with those Checkpoints of its upgrades.
fn turn(sandbox: &Sandbox, pod: Option<&Pod>, kept: &[Arc<Checkpoint>], seconds: i64) -> Decision {
    turn_with(sandbox, pod, Kept { all: kept, answer: Answer::None }, seconds)
}

/// The same without any, the API having answered that to the one that is wanted.
fn turn_answered(sandbox: &Sandbox, pod: &Pod, answer: Answer<'_>, seconds: i64) -> Decision {
    turn_with(sandbox, Some(pod), Kept { all: &[], answer }, seconds)
}

fn turn_with(sandbox: &Sandbox, pod: Option<&Pod>, kept: Kept<'_>, seconds: i64) -> Decision {
    let keeping = &Keeping::default();
    let circumstances =
        Circumstances { attempt: None, storage: &Verdict::Possible, recycling: None, kept, keeping };
    decide_about(sandbox, pod, circumstances, now() + SignedDuration::from_secs(seconds))
}

/// The Checkpoint of the old pod, in that phase.
fn checkpoint_in(phase: &str) -> Arc<Checkpoint> {
    let json = json!({
        "metadata": {"name": "one-poduid", "uid": "cafe0123-4567-89ab", "creationTimestamp": at(0)},
        "spec": {"sandboxName": "one"},
        "status": {"phase": phase, "message": "node n cannot keep the file system"},
    });
    Arc::new(serde_json::from_value(json).expect("a Checkpoint"))
}

const ID: &str = "cp-cafe01234567";

/// An upgrade with `CheckpointRestore` that has got to its checkpoint, and the old pod.
fn at_its_checkpoint() -> (Sandbox, Pod) {
    let (sandbox, old) = (upgraded_to("new", "CheckpointRestore", "Running"), pod("Running", &ready("True")));
    let begun = turn(&sandbox, Some(&old), &[], 0);
    assert_eq!((phase_of(&begun), begun.actions.len()), ("Upgrading", 0), "the phase is written first");
    assert_eq!(says(&begun, types::UPGRADING).as_deref(), Some("False/Checkpointing"));
    (after(sandbox, &begun), old)
}

#[test]
fn with_a_checkpoint_the_pod_goes_once_its_files_are_kept_and_the_new_one_is_made_from_them() {
    let (mut sandbox, old) = at_its_checkpoint();
    let order = turn(&sandbox, Some(&old), &[], 1);
    assert_eq!(order.actions, [Action::TakeCheckpoint { name: "one-poduid".to_owned() }]);
    for phase in ["", "Creating"] {
        let waiting = turn(&sandbox, Some(&old), &[checkpoint_in(phase)], 2);
        assert_eq!(
            (waiting.actions.len(), waiting.wake_at),
            (0, Some(now() + SignedDuration::from_secs(120)))
        );
        assert_eq!(says(&waiting, types::READY).as_deref(), Some("False/Upgrading"));
    }
    let kept = [checkpoint_in("Succeeded")];
    let noted = turn(&sandbox, Some(&old), &kept, 3);
    assert_eq!(noted.actions, [Action::RestoreFrom { id: ID.to_owned() }], "noted before the pod goes");
    assert_eq!(says(&noted, types::UPGRADING).as_deref(), Some("False/Checkpointing"));
    sandbox.annotations_mut().insert("agents.kruise.io/restore-from".to_owned(), ID.to_owned());
    let goes = turn(&sandbox, Some(&old), &kept, 4);
    assert_eq!(says(&goes, types::UPGRADING).as_deref(), Some("False/UpgradePod"));
    assert_eq!(reasons(&goes), ["CheckpointSucceeded"]);
    let sandbox = after(sandbox, &goes);
    let next = turn(&sandbox, Some(&old), &kept, 5);
    assert_eq!(next.actions, [Action::DeletePod { uid: "pod-uid".to_owned() }]);
    assert_eq!(turn(&sandbox, None, &kept, 6).actions, [Action::CreatePod]);
}

#[rstest]
#[case::failed("Failed", 3, "Checkpoint one-poduid failed: node n cannot keep the file system")]
#[case::too_late("Creating", 121, "Checkpoint one-poduid was not there within the limit of 120 s")]
fn what_cannot_be_kept_is_said_once_and_the_sandbox_runs_on(
    #[case] phase: &str,
    #[case] seconds: i64,
    #[case] words: &str,
) {
    let (sandbox, old) = at_its_checkpoint();
    let kept = [checkpoint_in(phase)];
    let failed = turn(&sandbox, Some(&old), &kept, seconds);
    assert_eq!((phase_of(&failed), failed.actions.len()), ("Running", 0));
    assert_eq!(says(&failed, types::UPGRADING).as_deref(), Some("False/CheckpointFailed"));
    assert_eq!(says(&failed, types::READY).as_deref(), Some("True/PodReady"));
    assert_eq!(reasons(&failed), ["CheckpointFailed", "SandboxRunning"]);
    assert!(failed.events[0].message.contains(words), "{}", failed.events[0].message);

    let sandbox = after(sandbox, &failed);
    let quiet = turn(&sandbox, Some(&old), &kept, seconds + 1);
    assert_eq!((phase_of(&quiet), quiet.events.len()), ("Running", 0), "told once");
    let uid = "cafe0123-4567-89ab".to_owned();
    assert_eq!(quiet.actions, [Action::DeleteCheckpoint { name: "one-poduid".to_owned(), uid }]);
    let mut edited = sandbox.clone();
    edited.metadata.generation = Some(edited.metadata.generation.unwrap_or_default() + 1);
    let again = turn(&edited, Some(&old), &[], seconds + 2);
    assert_eq!(
        says(&again, types::UPGRADING).as_deref(),
        Some("False/Checkpointing"),
        "with another generation"
    );
    let mut without = sandbox;
    without.spec.upgrade_policy = None;
    let explained = turn(&without, Some(&old), &[], seconds + 2);
    assert_eq!(
        says(&explained, types::UPGRADING).as_deref(),
        Some("False/CheckpointFailed"),
        "it isn't of its template"
    );
}

#[test]
fn a_checkpoint_that_the_api_refuses_ends_the_upgrade_until_it_is_accepted_or_the_sandbox_is_edited() {
    let (sandbox, old) = at_its_checkpoint();
    let failed = turn_answered(&sandbox, &old, Answer::Refused("no right"), 1);
    assert_eq!((phase_of(&failed), failed.actions.len()), ("Running", 0));
    assert_eq!(says(&failed, types::UPGRADING).as_deref(), Some("False/CheckpointCreateFailed"));
    assert_eq!(says(&failed, types::READY).as_deref(), Some("True/PodReady"));
    assert_eq!(reasons(&failed), ["CheckpointFailed", "SandboxRunning"]);
    let message = "the sandbox runs on as it was, for its files can't be kept: no right";
    assert_eq!(failed.events[0].message, message);

    let sandbox = after(sandbox, &failed);
    let why = |decision: &Decision| {
        let status = decision.status.as_ref().expect("a status");
        conditions::find(&status.conditions, types::UPGRADING).map(|told| told.message.clone())
    };
    for (answer, words) in [
        (Answer::None, "no right"),
        (Answer::Refused("no right"), "no right"),
        (Answer::Refused("no room"), "no room"),
    ] {
        let quiet = turn_answered(&sandbox, &old, answer, 30);
        assert_eq!((phase_of(&quiet), quiet.actions.len(), quiet.events.len()), ("Running", 0, 0));
        assert!(why(&quiet).is_some_and(|told| told.ends_with(words)), "{:?}", why(&quiet));
        assert_eq!(quiet.wake_at, Some(now() + SignedDuration::from_secs(90)), "asked again in a minute");
    }
    let again = turn_answered(&sandbox, &old, Answer::Accepted, 90);
    assert_eq!(phase_of(&again), "Upgrading");
    assert_eq!(says(&again, types::UPGRADING).as_deref(), Some("False/Checkpointing"));

    let mut edited = sandbox.clone();
    edited.metadata.generation = Some(edited.metadata.generation.unwrap_or_default() + 1);
    assert_eq!(phase_of(&turn(&edited, Some(&old), &[], 30)), "Upgrading");
    let mut without = sandbox;
    without.spec.upgrade_policy = None;
    let explained = turn(&without, Some(&old), &[], 30);
    assert_eq!(says(&explained, types::UPGRADING).as_deref(), Some("False/CheckpointCreateFailed"));
    assert_eq!(explained.wake_at, None, "nothing is wanted");
}

#[test]
fn an_api_that_does_not_answer_has_as_long_as_a_node() {
    let (sandbox, old) = at_its_checkpoint();
    let wanted = [Action::TakeCheckpoint { name: "one-poduid".to_owned() }];
    let mut sandbox = sandbox;
    for seconds in [1, 119] {
        let waiting = turn(&sandbox, Some(&old), &[], seconds);
        assert_eq!((phase_of(&waiting), &waiting.actions[..]), ("Upgrading", &wanted[..]));
        assert_eq!(waiting.wake_at, Some(now() + SignedDuration::from_secs(120)));
        sandbox = after(sandbox, &waiting);
    }
    let late = turn(&sandbox, Some(&old), &[], 120);
    assert_eq!((phase_of(&late), late.actions.len()), ("Running", 0));
    assert_eq!(says(&late, types::UPGRADING).as_deref(), Some("False/CheckpointFailed"));
    let words =
        "Checkpoint one-poduid was not there within the limit of 120 s: Checkpoint one-poduid is made";
    assert!(late.events[0].message.contains(words), "{}", late.events[0].message);
}

#[test]
fn a_pod_that_goes_by_itself_takes_its_files_along_unless_they_are_kept() {
    let (mut sandbox, _) = at_its_checkpoint();
    sandbox.status.get_or_insert_default().pod_info.get_or_insert_default().pod_uid =
        Some("pod-uid".to_owned());
    let lost = turn(&sandbox, None, &[], 1);
    assert_eq!(phase_of(&lost), "Failed");
    assert!(!lost.actions.contains(&Action::CreatePod));
    let kept = [checkpoint_in("Succeeded")];
    assert_eq!(turn(&sandbox, None, &kept, 1).actions, [Action::RestoreFrom { id: ID.to_owned() }]);
    sandbox.annotations_mut().insert("agents.kruise.io/restore-from".to_owned(), ID.to_owned());
    let goes_on = turn(&sandbox, None, &kept, 1);
    assert_eq!((phase_of(&goes_on), goes_on.actions.last()), ("Upgrading", Some(&Action::CreatePod)));
}

#[test]
fn a_paused_sandbox_is_woken_for_its_upgrade_and_pauses_again() {
    let mut paused = upgraded_to("img", "Recreate", "Paused");
    paused.spec.paused = true;
    paused.annotations_mut().insert("agents.kruise.io/upgrade-resume-trigger".to_owned(), "true".to_owned());
    let begun = decide(&paused, None, None, now());
    assert_eq!(phase_of(&begun), "Upgrading");
    assert_eq!(says(&begun, types::UPGRADING).as_deref(), Some("False/Resuming"));
    assert_eq!(reasons(&begun), ["UpgradeResuming", "SandboxUpgrading"]);
    let waking = after(paused, &begun);
    assert_eq!(decide(&waking, None, None, now()).actions.last(), Some(&Action::CreatePod));
    let pod = new_pod(&waking, &json!({"running": {}}));
    let awake = decide(&waking, Some(&pod), None, now());
    assert_eq!(
        (phase_of(&awake), says(&awake, types::UPGRADING).as_deref()),
        ("Upgrading", Some("False/ResumeSucceed"))
    );
    assert_eq!((says(&awake, types::SANDBOX_PAUSED), reasons(&awake)), (None, vec!["UpgradeResumed"]));
    let awake = after(waking, &awake);

    let mut changed = awake.clone();
    changed.annotations_mut().clear();
    changed.spec.template.as_mut().expect("a template")["spec"]["containers"][0]["image"] = json!("new");
    let upgrading = decide(&changed, Some(&pod), None, now());
    assert_eq!(says(&upgrading, types::UPGRADING).as_deref(), Some("False/UpgradePod"));
    let next = decide(&after(changed, &upgrading), Some(&pod), None, now());
    assert!(next.actions.contains(&Action::DeletePod { uid: "new-uid".to_owned() }));

    let mut taken_back = awake;
    taken_back.annotations_mut().remove("agents.kruise.io/upgrade-resume-trigger");
    let runs = decide(&taken_back, Some(&pod), None, now());
    assert_eq!((phase_of(&runs), says(&runs, types::UPGRADING)), ("Running", None));
    let pauses = decide(&after(taken_back, &runs), Some(&pod), None, now());
    assert_eq!(phase_of(&pauses), "Paused");
}

fn with_hooks(mut sandbox: Sandbox) -> Sandbox {
    let hooks = json!({"preUpgrade": {"exec": {"command": ["before"]}}, "postUpgrade": {"exec": {"command": ["after"]}}});
    sandbox.spec.lifecycle = serde_json::from_value(hooks).expect("hooks");
    sandbox
}

/// The attempt that the decision orders to run that hook, as it went.
fn attempt_of(decision: &Decision, which: Hook, progress: Progress) -> Attempt {
    let order = decision.actions.iter().find_map(|action| match action {
        Action::RunHook { hook, attempt } if *hook == which => Some(attempt.clone()),
        _ => None,
    });
    Attempt { container: order.expect("the hook is to be run"), progress }
}

fn failed(retry_in: i64) -> Progress {
    Progress::Failed {
        message: "exit status 1: no".to_owned(),
        retry_at: now() + SignedDuration::from_secs(retry_in),
    }
}

#[test]
fn hooks_run_in_the_old_pod_and_in_the_new_one_after_its_mounts() {
    let sandbox = with_hooks(upgraded_to("new", "Recreate", "Running"));
    let old = pod("Running", &ready("True"));
    let begun = decide(&sandbox, Some(&old), None, now());
    assert_eq!(
        (says(&begun, types::UPGRADING).as_deref(), begun.actions.len()),
        (Some("False/PreUpgrade"), 0)
    );
    let sandbox = after(sandbox, &begun);
    let order = decide(&sandbox, Some(&old), None, now());
    let ran = attempt_of(&order, Hook::PreUpgrade, Progress::Succeeded);
    let gone = decide(&sandbox, Some(&old), Some(&ran), now());
    assert_eq!((says(&gone, types::UPGRADING).as_deref(), gone.actions.len()), (Some("False/UpgradePod"), 0));
    let sandbox = after(sandbox, &gone);
    assert_eq!(
        decide(&sandbox, Some(&old), None, now()).actions,
        [Action::DeletePod { uid: "pod-uid".to_owned() }]
    );

    let new = new_pod(&sandbox, &json!({"running": {}}));
    let mounted = Attempt { container: "b".to_owned(), progress: Progress::Succeeded };
    let replaced = decide(&sandbox, Some(&new), Some(&mounted), now());
    assert_eq!(says(&replaced, types::UPGRADING).as_deref(), Some("False/PostUpgrade"));
    assert_eq!(reasons(&replaced), ["RuntimeInitialized", "UpgradePodReplaced"]);
    let sandbox = after(sandbox, &replaced);
    let order = decide(&sandbox, Some(&new), Some(&mounted), now());
    assert_eq!(says(&order, types::READY).as_deref(), Some("False/Upgrading"));
    let ran = attempt_of(&order, Hook::PostUpgrade, Progress::Succeeded);
    let done = decide(&sandbox, Some(&new), Some(&ran), now());
    assert_eq!(
        (phase_of(&done), says(&done, types::UPGRADING).as_deref()),
        ("Running", Some("True/Succeeded"))
    );
    assert_eq!(reasons(&done), ["UpgradeSucceeded", "SandboxRunning"]);
}

#[test]
fn a_hook_that_fails_keeps_the_pod_is_told_once_and_tried_again() {
    let sandbox = with_hooks(upgraded_to("new", "Recreate", "Running"));
    let old = pod("Running", &ready("True"));
    let sandbox = after(sandbox.clone(), &decide(&sandbox, Some(&old), None, now()));
    let order = decide(&sandbox, Some(&old), None, now());
    let attempt = attempt_of(&order, Hook::PreUpgrade, failed(7));
    let told = decide(&sandbox, Some(&old), Some(&attempt), now());
    assert_eq!(
        (says(&told, types::UPGRADING).as_deref(), reasons(&told)),
        (Some("False/PreUpgradeFailed"), vec!["PreUpgradeFailed"])
    );
    assert_eq!(told.events[0].message, "lifecycle.preUpgrade failed: exit status 1: no");
    assert_eq!((told.actions.len(), told.wake_at), (0, Some(now() + SignedDuration::from_secs(7))));
    let sandbox = after(sandbox, &told);
    let due = Attempt { progress: failed(0), ..attempt.clone() };
    let again = decide(&sandbox, Some(&old), Some(&due), now());
    assert_eq!(
        (attempt_of(&again, Hook::PreUpgrade, Progress::Running).container, again.events.len()),
        (attempt.container.clone(), 0)
    );

    let mut other = sandbox.clone();
    other.spec.template.as_mut().expect("a template")["spec"]["containers"][0]["image"] = json!("other");
    let at_once = decide(&other, Some(&old), Some(&attempt), now());
    assert_ne!(
        attempt_of(&at_once, Hook::PreUpgrade, Progress::Running).container,
        attempt.container,
        "another run"
    );

    let mut back = sandbox.clone();
    back.spec.template = in_phase("Running").spec.template;
    let abandoned = decide(&back, Some(&old), Some(&attempt), now());
    assert_eq!((phase_of(&abandoned), says(&abandoned, types::UPGRADING)), ("Running", None));

    let lost = decide(&sandbox, None, Some(&attempt), now());
    assert_eq!(
        says(&lost, types::UPGRADING).as_deref(),
        Some("False/UpgradePod"),
        "its pod is gone: the upgrade goes on"
    );
    assert!(lost.actions.contains(&Action::CreatePod));
}
