//! Whether the runtime has to be initialised again (`kubernetes.md` §5.4, decision D-3), as a pure function.
//!
//! ```text
//! main container    first that was ready       another one                               another one
//! remembered id     (none) ─► its own          still the first's                         its own
//! who initialises   the claim                  nobody yet: Ready is held, attempts ───►  done
//! ```
//! The id of the main container that was initialised last is kept in the status, so that a restart of the controller
//! neither misses a container nor does one again for nothing. So are the ids of the CSI sidecars: what they mounted ends with
//! them (`storage.md` §5.4, §7.2), and a sandbox with storage is initialised again when one of them was replaced.

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxStatus};
use contract::names::{annotations, events, labels};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::containers::{main_container, mounting_containers};
use super::decide::Action;
use super::ready;
use super::turn::Turn;
use crate::announce::Announcement;

/// Why Ready is held.
const HELD: &str =
    "the main container was replaced; its runtime is being initialised and its storage mounted again";

/// Why it is held when nothing but a CSI sidecar was replaced.
const STORAGE_HELD: &str =
    "the CSI sidecar was replaced, and what it had mounted is gone with it; storage is being mounted again";

/// Remembered in place of a container's id while there is no pod: no container has it.
const NONE_YET: &str = "";

/// An attempt to initialise the runtime of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The container's id; behind it, after a space each, those of the sidecars that mount for it.
    pub container: String,
    /// How far it got.
    pub progress: Progress,
}

/// How far an attempt got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At work.
    Running,
    /// Initialised, everything mounted.
    Succeeded,
    /// It failed.
    Failed {
        /// The error, without secrets.
        message: String,
        /// When it may be tried again.
        retry_at: Timestamp,
    },
}

/// Remembers the first main container of a pod that is ready: it is the claim's to initialise.
pub(super) fn remember_first(pod: &Pod, status: &mut SandboxStatus) {
    if !ready::is_ready(pod) {
        return;
    }
    if remembered(status).is_none()
        && let Some(container) = main_container(pod)
    {
        remember(status, container);
    }
    if remembered_mounting(status).is_none()
        && let Some(mounting) = mounting_containers(pod)
    {
        remember_mounting(status, &mounting);
    }
}

/// The pod goes: whatever main container comes next is another one.
pub(super) fn expect_another(status: &mut SandboxStatus) {
    remember(status, NONE_YET);
}

/// An update was completed. While the sandbox is being claimed, its new main container is the claim's to initialise: it
/// waits for that update, and for nothing before.
pub(super) fn leave_to_claim(sandbox: &Sandbox, pod: &Pod, status: &mut SandboxStatus) {
    if is_being_claimed(sandbox)
        && let Some(container) = main_container(pod)
    {
        remember(status, container);
    }
}

/// Decides what the runtime and the mounts of the pod's containers need, and says why Ready is held meanwhile.
pub(super) fn follow(turn: &mut Turn<'_>, pod: &Pod) -> Option<&'static str> {
    remember_first(pod, &mut turn.status);
    let Some(main) = main_container(pod) else {
        let expected = remembered(&turn.status) == Some(NONE_YET) && is_claimed_with_runtime(turn.sandbox);
        return expected.then_some(HELD);
    };
    if remembered(&turn.status).is_none() || is_being_claimed(turn.sandbox) {
        return None;
    }
    let mounting = mounting_containers(pod);
    let replaced = remembered(&turn.status).is_some_and(|known| known != main);
    let mounters_changed =
        remembered_mounting(&turn.status).is_some_and(|known| mounting.as_deref() != Some(known));
    if !is_claimed_with_runtime(turn.sandbox) || !(replaced || mounters_changed && has_storage(turn.sandbox))
    {
        settle(&mut turn.status, main, mounting.as_deref(), replaced, turn.now);
        return None;
    }
    let held = Some(if replaced { HELD } else { STORAGE_HELD });
    // Without its sidecar nothing can be mounted: whoever comes next has another id.
    let Some(mounting) = mounting else {
        begin(&mut turn.status, turn.now);
        return held;
    };
    let container = format!("{main} {mounting}").trim_end().to_owned();
    let start = Action::InitialiseRuntime { container: container.clone() };
    let is_done = turn.attempt(pod, &container, start, |turn, known| match known {
        Some(Progress::Failed { message, .. }) => fail(turn, message),
        _ => begin(&mut turn.status, turn.now),
    });
    if is_done {
        succeed(turn, main, &mounting);
        return None;
    }
    held
}

/// There is nothing to bring back: the containers of now are the ones to compare with.
fn settle(status: &mut SandboxStatus, main: &str, mounting: Option<&str>, replaced: bool, now: Timestamp) {
    remember(status, main);
    if let Some(mounting) = mounting {
        remember_mounting(status, mounting);
    }
    if replaced && conditions::find(&status.conditions, types::RUNTIME_INITIALIZED).is_some() {
        set(status, true, reasons::SUCCEEDED, "", now);
    }
}

/// A claim initialises the runtime itself; what becomes of the sandbox is open until it is acknowledged.
pub(super) fn is_being_claimed(sandbox: &Sandbox) -> bool {
    sandbox.annotations().contains_key(annotations::CLAIM_UNACKNOWLEDGED_UNTIL)
}

/// Whether the sandbox has something to bring back, and isn't one that is only kept for its failure.
fn is_claimed_with_runtime(sandbox: &Sandbox) -> bool {
    let has = |key: &str| sandbox.annotations().get(key).is_some_and(|value| !value.is_empty());
    let failed = sandbox.labels().get(labels::RESERVED_FAILED_SANDBOX).is_some_and(|value| value == "true");
    !failed && (has(annotations::INIT_RUNTIME_REQUEST) || has(annotations::CSI_VOLUME_CONFIG))
}

/// Whether volumes are to be mounted in it.
fn has_storage(sandbox: &Sandbox) -> bool {
    sandbox.annotations().get(annotations::CSI_VOLUME_CONFIG).is_some_and(|value| !value.is_empty())
}

fn remembered(status: &SandboxStatus) -> Option<&str> {
    note(status, annotations::INITIALIZED_CONTAINER)
}

fn remembered_mounting(status: &SandboxStatus) -> Option<&str> {
    note(status, annotations::MOUNTING_CONTAINERS)
}

fn note<'a>(status: &'a SandboxStatus, key: &str) -> Option<&'a str> {
    status.pod_info.as_ref()?.annotations.as_ref()?.get(key).map(String::as_str)
}

fn remember(status: &mut SandboxStatus, container: &str) {
    write_note(status, annotations::INITIALIZED_CONTAINER, container);
}

/// A pod without such sidecars leaves no trace.
fn remember_mounting(status: &mut SandboxStatus, containers: &str) {
    if !containers.is_empty() {
        write_note(status, annotations::MOUNTING_CONTAINERS, containers);
    }
}

fn write_note(status: &mut SandboxStatus, key: &str, value: &str) {
    let notes = status.pod_info.get_or_insert_default().annotations.get_or_insert_default();
    notes.insert(key.to_owned(), value.to_owned());
}

/// Pending, unless an earlier attempt's failure is shown already.
fn begin(status: &mut SandboxStatus, now: Timestamp) {
    let shown = conditions::find(&status.conditions, types::RUNTIME_INITIALIZED);
    if shown.is_none_or(|condition| condition.status == "True") {
        set(status, false, reasons::PENDING, "", now);
    }
}

fn succeed(turn: &mut Turn<'_>, main: &str, mounting: &str) {
    set(&mut turn.status, true, reasons::SUCCEEDED, "", turn.now);
    remember(&mut turn.status, main);
    remember_mounting(&mut turn.status, mounting);
    turn.decision.events.push(Announcement::normal(
        events::RUNTIME_INITIALIZED,
        "The runtime was initialised again and its storage is mounted",
    ));
}

fn fail(turn: &mut Turn<'_>, message: &str) {
    if set(&mut turn.status, false, reasons::FAILED, message, turn.now) {
        turn.decision.events.push(Announcement::warning(events::RUNTIME_INITIALIZE_FAILED, message));
    }
}

fn set(status: &mut SandboxStatus, is_true: bool, reason: &str, message: &str, now: Timestamp) -> bool {
    conditions::set(&mut status.conditions, types::RUNTIME_INITIALIZED, is_true, reason, message, now)
}

#[cfg(test)]
mod tests {
    use contract::hibernation::Verdict;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::super::decide::{Circumstances, Decision};
    use super::super::preserve::Kept;
    use super::super::sleep::Keeping;
    use super::*;

    const INIT: &str = annotations::INIT_RUNTIME_REQUEST;
    const MOUNTS: &str = annotations::CSI_VOLUME_CONFIG;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("a small number")
    }

    fn sandbox(notes: &[&str]) -> Sandbox {
        let notes: std::collections::BTreeMap<_, _> = notes.iter().map(|key| (*key, "x")).collect();
        from(json!({"metadata": {"name": "one", "annotations": notes}, "spec": {}}))
    }

    fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("an object of that kind")
    }

    /// A pod whose main container has that id and state; a sidecar of another id runs before it.
    fn pod(id: &str, state: &str, ready: &str) -> Pod {
        from(json!({
            "metadata": {"name": "one"},
            "spec": {"containers": [{"name": "main"}, {"name": "second"}]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [
                    {"name": "second", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                     "containerID": "second", "state": {"running": {}}},
                    {"name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                     "containerID": id, "state": {state: {}}},
                ],
            },
        }))
    }

    /// The same with the main container `main`, and a CSI sidecar of that id and state.
    fn pod_with_sidecar(id: &str, state: &str) -> Pod {
        let mut pod = pod("main", "running", if state == "running" { "True" } else { "False" });
        let sidecar = from(json!({"name": "csi-sidecar"}));
        pod.spec.get_or_insert_default().init_containers = Some(vec![sidecar]);
        pod.status.get_or_insert_default().init_container_statuses = Some(vec![from(json!({
            "name": "csi-sidecar", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "containerID": id, "state": {state: {}},
        }))]);
        pod
    }

    fn status(remembered: Option<&str>) -> SandboxStatus {
        let mut status = SandboxStatus::default();
        if let Some(container) = remembered {
            remember(&mut status, container);
        }
        status
    }

    struct Outcome {
        remembered: Option<String>,
        mounting: Option<String>,
        held: bool,
        shown: Option<String>,
        starts: bool,
        events: Vec<String>,
        wake_at: Option<Timestamp>,
    }

    fn follow_in(status: SandboxStatus, sandbox: &Sandbox, pod: &Pod, attempt: Option<&Attempt>) -> Outcome {
        let given = Circumstances {
            attempt,
            storage: &Verdict::Possible,
            recycling: None,
            kept: Kept::default(),
            keeping: &Keeping::default(),
        };
        let mut turn = Turn { sandbox, given, now: now(), status, decision: Decision::default() };
        let held = follow(&mut turn, pod).is_some();
        let Turn { status, decision, .. } = turn;
        let shown = conditions::find(&status.conditions, types::RUNTIME_INITIALIZED);
        Outcome {
            remembered: remembered(&status).map(str::to_owned),
            mounting: remembered_mounting(&status).map(str::to_owned),
            held,
            shown: shown.map(|shown| format!("{}/{} {}", shown.status, shown.reason, shown.message)),
            starts: matches!(
                decision.actions.as_slice(),
                [Action::InitialiseRuntime { container }] if container == "new" || container == "main new"
            ),
            events: decision.events.iter().map(|event| event.reason.clone()).collect(),
            wake_at: decision.wake_at,
        }
    }

    fn attempt(container: &str, progress: Progress) -> Attempt {
        Attempt { container: container.to_owned(), progress }
    }

    fn failed(retry_in: i64) -> Progress {
        let retry_at = now() + jiff::SignedDuration::from_secs(retry_in);
        Progress::Failed { message: "no such bucket".to_owned(), retry_at }
    }

    // who is remembered without anything being done
    #[rstest]
    #[case::first_boot(None, &[INIT], pod("new", "running", "True"), Some("new"))]
    #[case::first_boot_not_ready_yet(None, &[INIT], pod("new", "running", "False"), None)]
    #[case::the_same(Some("new"), &[INIT, MOUNTS], pod("new", "running", "True"), Some("new"))]
    #[case::between_two_containers(Some("old"), &[INIT], pod("new", "waiting", "False"), Some("old"))]
    #[case::in_the_pool(Some("old"), &[], pod("new", "running", "False"), Some("new"))]
    #[case::while_it_is_claimed(Some("old"), &[INIT, annotations::CLAIM_UNACKNOWLEDGED_UNTIL], pod("new", "running", "True"), Some("old"))]
    fn nothing_to_do(
        #[case] known: Option<&str>,
        #[case] notes: &[&str],
        #[case] pod: Pod,
        #[case] remembered: Option<&str>,
    ) {
        let outcome = follow_in(status(known), &sandbox(notes), &pod, None);
        assert_eq!(outcome.remembered.as_deref(), remembered);
        assert!(!outcome.held && !outcome.starts && outcome.shown.is_none() && outcome.events.is_empty());
    }

    #[test]
    fn a_sandbox_that_is_kept_for_its_failure_is_not_given_its_mounts_again() {
        let mut kept = sandbox(&[INIT, MOUNTS]);
        kept.labels_mut().insert(labels::RESERVED_FAILED_SANDBOX.to_owned(), "true".to_owned());
        let outcome = follow_in(status(Some("old")), &kept, &pod("new", "running", "True"), None);
        assert_eq!(
            (outcome.remembered.as_deref(), outcome.held, outcome.starts),
            (Some("new"), false, false)
        );
    }

    // a container was replaced
    #[rstest]
    #[case::ready(&[INIT], "True", None, "False/Pending ", true)]
    #[case::mounts_alone(&[MOUNTS], "True", None, "False/Pending ", true)]
    #[case::not_ready_yet(&[INIT], "False", None, "False/Pending ", false)]
    #[case::at_work(&[INIT], "True", Some(attempt("new", Progress::Running)), "False/Pending ", false)]
    #[case::another_container_s_attempt(&[INIT], "True", Some(attempt("old", Progress::Succeeded)), "False/Pending ", true)]
    #[case::failed_and_due(&[INIT], "True", Some(attempt("new", failed(0))), "False/Failed no such bucket", true)]
    #[case::failed_and_due_but_not_ready(&[INIT], "False", Some(attempt("new", failed(0))), "False/Failed no such bucket", false)]
    fn a_replaced_container_holds_ready(
        #[case] notes: &[&str],
        #[case] ready: &str,
        #[case] attempt: Option<Attempt>,
        #[case] shown: &str,
        #[case] starts: bool,
    ) {
        let outcome =
            follow_in(status(Some("old")), &sandbox(notes), &pod("new", "running", ready), attempt.as_ref());
        assert_eq!((outcome.held, outcome.remembered.as_deref()), (true, Some("old")));
        assert_eq!((outcome.shown.as_deref(), outcome.starts), (Some(shown), starts));
    }

    #[test]
    fn a_failure_is_told_once_and_tried_again_at_its_time() {
        let (sandbox, pod) = (sandbox(&[INIT]), pod("new", "running", "True"));
        let attempt = attempt("new", failed(7));
        let outcome = follow_in(status(Some("old")), &sandbox, &pod, Some(&attempt));
        assert_eq!(outcome.wake_at, Some(now() + jiff::SignedDuration::from_secs(7)));
        assert_eq!((outcome.events, outcome.starts), (vec!["RuntimeInitializeFailed".to_owned()], false));
        let mut told = status(Some("old"));
        set(&mut told, false, reasons::FAILED, "no such bucket", now());
        let again = follow_in(told, &sandbox, &pod, Some(&attempt));
        assert!(again.events.is_empty() && again.held);
    }

    #[test]
    fn a_failure_stays_visible_while_a_new_controller_tries_again() {
        let mut told = status(Some("old"));
        set(&mut told, false, reasons::FAILED, "no such bucket", now());
        let outcome = follow_in(told, &sandbox(&[INIT]), &pod("new", "running", "True"), None);
        assert_eq!(outcome.shown.as_deref(), Some("False/Failed no such bucket"));
        assert!(outcome.starts);
    }

    #[test]
    fn success_is_remembered_and_lets_ready_go() {
        let attempt = attempt("new", Progress::Succeeded);
        let outcome = follow_in(
            status(Some("old")),
            &sandbox(&[INIT, MOUNTS]),
            &pod("new", "running", "True"),
            Some(&attempt),
        );
        assert_eq!((outcome.held, outcome.remembered.as_deref()), (false, Some("new")));
        assert_eq!(outcome.shown.as_deref(), Some("True/Succeeded "));
        assert_eq!(outcome.events, ["RuntimeInitialized"]);
    }

    // a CSI sidecar was replaced; what is remembered afterwards, whether Ready is held, whether mounting starts
    #[rstest]
    #[case::first_boot(None, &[INIT, MOUNTS], pod_with_sidecar("new", "running"), Some("new"), false, false)]
    #[case::the_same(Some("new"), &[INIT, MOUNTS], pod_with_sidecar("new", "running"), Some("new"), false, false)]
    #[case::gone(Some("old"), &[INIT, MOUNTS], pod_with_sidecar("old", "terminated"), Some("old"), true, false)]
    #[case::another(Some("old"), &[INIT, MOUNTS], pod_with_sidecar("new", "running"), Some("old"), true, true)]
    #[case::without_storage(Some("old"), &[INIT], pod_with_sidecar("new", "running"), Some("new"), false, false)]
    #[case::in_the_pool(Some("old"), &[], pod_with_sidecar("new", "running"), Some("new"), false, false)]
    #[case::gone_in_the_pool(Some("old"), &[], pod_with_sidecar("old", "waiting"), Some("old"), false, false)]
    #[case::while_it_is_claimed(Some("old"), &[INIT, MOUNTS, annotations::CLAIM_UNACKNOWLEDGED_UNTIL], pod_with_sidecar("new", "running"), Some("old"), false, false)]
    fn storage_is_mounted_again_by_another_sidecar(
        #[case] known: Option<&str>,
        #[case] notes: &[&str],
        #[case] pod: Pod,
        #[case] mounting: Option<&str>,
        #[case] held: bool,
        #[case] starts: bool,
    ) {
        let mut before = status(Some("main"));
        remember_mounting(&mut before, known.unwrap_or_default());
        let outcome = follow_in(before, &sandbox(notes), &pod, None);
        assert_eq!((outcome.mounting.as_deref(), outcome.held, outcome.starts), (mounting, held, starts));
        assert_eq!(outcome.shown.as_deref(), held.then_some("False/Pending "));
        assert_eq!(outcome.remembered.as_deref(), Some("main"));
    }

    #[test]
    fn another_sidecar_s_success_is_remembered_and_an_earlier_one_s_is_none() {
        let pod = pod_with_sidecar("new", "running");
        let mut before = status(Some("main"));
        remember_mounting(&mut before, "old");
        let of = |container: &str| {
            let attempt = attempt(container, Progress::Succeeded);
            follow_in(before.clone(), &sandbox(&[INIT, MOUNTS]), &pod, Some(&attempt))
        };
        let outcome = of("main new");
        assert_eq!((outcome.held, outcome.mounting.as_deref()), (false, Some("new")));
        assert_eq!(outcome.shown.as_deref(), Some("True/Succeeded "));
        let outcome = of("main old");
        assert_eq!((outcome.held, outcome.starts, outcome.mounting.as_deref()), (true, true, Some("old")));
    }
}
