//! The two deadlines of a Sandbox (`kubernetes.md` §5.7), as a pure function.
//!
//! ```text
//! shutdownTime   strictly past ─► the Sandbox is deleted, except while it is recycled
//! pauseTime      reached       ─► spec.paused is set; never when the storage can't hibernate (DECISIONS 3)
//! ```

use contract::crd::{Sandbox, SandboxPhase};
use contract::duration::retention;
use contract::hibernation::Verdict;
use contract::names::annotations;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::{Action, recycle};

/// What the deadlines ask for now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// The end of the Sandbox.
    ShutDown,
    /// A pause.
    Pause(Action),
}

/// What is due at `now` for a Sandbox whose storage says `storage`.
pub(super) fn due(sandbox: &Sandbox, storage: &Verdict, now: Timestamp) -> Due {
    // what is being cleaned is nobody's; only one whose cleaning failed has an end
    if sandbox.status.as_ref().is_some_and(|it| it.phase == SandboxPhase::Recycling && !recycle::is_over(it))
    {
        return Due::Nothing;
    }
    let pause = pause_is_due(sandbox, now) && *storage == Verdict::Possible;
    let shut_down = at(sandbox.spec.shutdown_time.as_ref()).is_some_and(|deadline| deadline < now);
    // A Sandbox that is to be kept once it is paused isn't deleted for being paused a little late.
    if shut_down && !(pause && stored_retention(sandbox).is_some()) {
        return Due::ShutDown;
    }
    if pause { Due::Pause(pause_action(sandbox, now)) } else { Due::Nothing }
}

/// Whether the automatic pause is to happen, as far as the time goes.
pub(super) fn pause_is_due(sandbox: &Sandbox, now: Timestamp) -> bool {
    let over = sandbox
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_final() || status.phase == SandboxPhase::Recycling);
    let reached = at(sandbox.spec.pause_time.as_ref()).is_some_and(|deadline| deadline <= now);
    reached && !sandbox.spec.paused && !over
}

/// When a deadline has to be looked at next, if nothing happens before.
pub(super) fn next(sandbox: &Sandbox, now: Timestamp) -> Option<Timestamp> {
    let shutdown = at(sandbox.spec.shutdown_time.as_ref()).map(just_after);
    let pause = at(sandbox.spec.pause_time.as_ref()).filter(|_| !sandbox.spec.paused);
    [shutdown, pause].into_iter().flatten().filter(|deadline| *deadline > now).min()
}

/// `spec.paused`, and with a retention and a shutdownTime both deadlines counted from now.
fn pause_action(sandbox: &Sandbox, now: Timestamp) -> Action {
    let kept = stored_retention(sandbox).filter(|_| sandbox.spec.shutdown_time.is_some());
    let until = kept.map(|kept| whole_seconds(clock::later(now, retention(Some(kept)))));
    Action::PauseByDeadline { kept_until: until }
}

fn stored_retention(sandbox: &Sandbox) -> Option<&str> {
    sandbox.annotations().get(annotations::RESERVE_PAUSED_SANDBOX_DURATION).map(String::as_str)
}

fn at(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0)
}

/// The first instant at which a deadline is in the past: it is compared strictly.
fn just_after(deadline: Timestamp) -> Timestamp {
    deadline.checked_add(SignedDuration::from_millis(1)).unwrap_or(deadline)
}

fn whole_seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}
