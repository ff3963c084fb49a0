//! Keeping the pod of a paused Sandbox asleep, where its node can (`docs/design/0012-hibernation.md`), as pure functions.
//!
//! ```text
//! Paused    node keeps memory ─► unmounted ─► hibernate wanted ─► asleep: the pause is complete
//!              └► it doesn't           └► fails, or too late ┴─► the pod goes, and memory with it: one Warning event
//! Resuming  asleep, made of what it would be made of now ─► awake ─► its runtime and mounts come back
//!              └► otherwise, or the node lost it: the pod goes, a new one is made
//! ```

use std::time::Duration;

use contract::conditions::{self, types};
use contract::names::events;
use contract::sleep::Sleep;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::decide::Action;
use super::recycle::Unmounting;
use super::turn::Turn;
use super::upgrade;
use crate::announce::Announcement;

/// How long it may take until the pod is asleep. After that it goes; less than the manager waits for a pause.
const LIMIT: Duration = Duration::from_secs(40);

/// What condition `SandboxPaused` says of a pod that is kept.
pub(super) const KEPT: &str = "the pod is kept asleep: its processes with their memory, and its files";
/// What it says of one that is not.
pub(super) const GONE: &str = "the pod is gone, another one is made at the wake-up";

/// What keeping the pod of a Sandbox depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Whether the pod's node keeps processes and files.
    pub node_keeps: bool,
    /// How far unmounting in the pod has got in this process; nothing when it was not begun.
    pub unmounting: Option<Unmounting>,
    /// Whether the pod is made of the injection configuration and the referenced template of now.
    pub is_current: bool,
}

/// Phase Paused, with a pod that stays or goes: brings either about. Whether it is asleep.
pub(super) fn put_to_sleep(turn: &mut Turn<'_>, pod: &Pod) -> bool {
    let sleep = Sleep::of(pod);
    let since = conditions::find(&turn.status.conditions, types::SANDBOX_PAUSED)
        .filter(|condition| condition.status != "True")
        .map(|condition| condition.last_transition_time.0);
    let due = since.map(|since| clock::later(since, LIMIT));
    match sleep {
        Sleep::Asleep => return true,
        Sleep::Lost(reason) => give_up(turn, pod, &reason),
        _ if !turn.given.keeping.node_keeps => stop(turn, pod),
        _ if due.is_some_and(|due| due <= turn.now) => {
            give_up(turn, pod, &format!("it was not asleep within {} s", LIMIT.as_secs()));
        }
        Sleep::Awake => {
            turn.decision.wake_at = due;
            match &turn.given.keeping.unmounting {
                None => {
                    turn.decision
                        .actions
                        .push(Action::UnmountForPause { pod: pod.uid().unwrap_or_default() });
                }
                Some(Unmounting::Running) => {}
                Some(Unmounting::Succeeded) => {
                    turn.decision.actions.push(Action::PutPodToSleep { uid: pod.uid().unwrap_or_default() });
                }
                Some(Unmounting::Failed(message)) => give_up(turn, pod, message),
            }
        }
        Sleep::FallingAsleep | Sleep::WakingUp => turn.decision.wake_at = due,
    }
    false
}

/// What the pod of a Sandbox that wakes up does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rousing {
    /// It runs.
    Awake,
    /// It will, or it goes and another one comes.
    UnderWay,
}

/// Wakes a pod that was kept, whatever it was made of.
pub(super) fn rouse(turn: &mut Turn<'_>, pod: &Pod) -> Rousing {
    match Sleep::of(pod) {
        Sleep::Awake => return Rousing::Awake,
        Sleep::WakingUp => {}
        Sleep::Lost(reason) => give_up(turn, pod, &reason),
        Sleep::Asleep | Sleep::FallingAsleep => {
            turn.decision.actions.push(Action::WakePod { uid: pod.uid().unwrap_or_default() });
        }
    }
    Rousing::UnderWay
}

/// The same, unless a pod that is made now would be another one: that is made instead.
pub(super) fn rouse_if_current(turn: &mut Turn<'_>, pod: &Pod) -> Rousing {
    let sleeps = matches!(Sleep::of(pod), Sleep::Asleep | Sleep::FallingAsleep);
    if sleeps && !(turn.given.keeping.is_current && upgrade::is_current(turn.sandbox, pod)) {
        let reason = "its template or the injection configuration has changed while it was paused";
        give_up(turn, pod, reason);
        return Rousing::UnderWay;
    }
    rouse(turn, pod)
}

fn stop(turn: &mut Turn<'_>, pod: &Pod) {
    turn.decision.actions.push(Action::StopPod { uid: pod.uid().unwrap_or_default() });
}

fn give_up(turn: &mut Turn<'_>, pod: &Pod, reason: &str) {
    stop(turn, pod);
    let message =
        format!("The sandbox wakes up in a new pod, without its processes and its own files: {reason}");
    turn.decision.events.push(Announcement::warning(events::MEMORY_NOT_KEPT, message));
}
