//! Pausing, or why not (`kubernetes.md` §5.6, DECISIONS 2 to 4), as pure functions.
//!
//! ```text
//! Running, spec.paused ─► storage can't hibernate: stays Running, condition and one event per generation
//!                     └─► Paused: finalizer, condition False/Pending ─► pod deleted, and gone, or kept asleep: True ─► Resuming
//! ```
//! The phase is written before the pod is touched: a controller that starts anew in between goes on with the pause
//! and doesn't take the missing pod for a failure.

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxPhase, SandboxStatus};
use contract::errors::Problem;
use contract::hibernation::Verdict;
use contract::names::{events, finalizers};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::decide::{Action, is_owned};
use super::turn::Turn;
use super::{deadlines, initialisation, of_generation, resume, sleep, wake};
use crate::announce::Announcement;

/// After that time a refused pause is looked at again: its volumes may have changed, and nobody tells.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// Whether what is to be done at `now` depends on the storage: then its verdict has to be asked for.
pub(crate) fn depends_on_storage(sandbox: &Sandbox, now: Timestamp) -> bool {
    let runs = sandbox.status.as_ref().is_some_and(|status| status.phase == SandboxPhase::Running);
    let lives = sandbox.metadata.deletion_timestamp.is_none();
    lives && ((sandbox.spec.paused && runs) || deadlines::pause_is_due(sandbox, now))
}

/// Says in condition and event that a wanted pause is refused; takes the condition off when none is.
pub(super) fn note_refusal(turn: &mut Turn<'_>) {
    let wanted = turn.sandbox.spec.paused || deadlines::pause_is_due(turn.sandbox, turn.now);
    match turn.given.storage {
        Verdict::Refused(problem) if wanted => refuse(turn, problem),
        _ => {
            conditions::remove(&mut turn.status.conditions, types::SANDBOX_PAUSED);
        }
    }
}

fn refuse(turn: &mut Turn<'_>, problem: &Problem) {
    let (kind, reason) = (types::SANDBOX_PAUSED, reasons::STORAGE_NOT_HIBERNATABLE);
    let told = of_generation::has_reason(turn.sandbox, &turn.status, kind, reason);
    let message = if turn.sandbox.spec.paused {
        problem.message().to_owned()
    } else {
        format!("the automatic pause does not take place: {}", problem.message())
    };
    of_generation::set(turn.sandbox, &mut turn.status, kind, false, reason, &message, turn.now);
    if !told {
        turn.decision.events.push(Announcement::warning(events::STORAGE_NOT_HIBERNATABLE, message));
    }
    if turn.sandbox.spec.paused {
        turn.decision.wake_at =
            [turn.decision.wake_at, turn.now.checked_add(LOOK_AGAIN).ok()].into_iter().flatten().min();
    }
}

/// Begins a pause.
pub(super) fn begin(now: Timestamp, status: &mut SandboxStatus) {
    status.phase = SandboxPhase::Paused;
    let conditions = &mut status.conditions;
    conditions::set(conditions, types::SANDBOX_PAUSED, false, reasons::PENDING, "", now);
    conditions::remove(conditions, types::SANDBOX_RESUMED);
    if let Some(ready) = conditions::find(conditions, types::READY).map(|ready| ready.reason.clone()) {
        conditions::set(conditions, types::READY, false, &ready, "the sandbox is paused", now);
    }
    initialisation::expect_another(status);
}

/// Phase Paused: the pod goes, or its node keeps it asleep; then a wanted wake-up can begin.
pub(super) fn follow(turn: &mut Turn<'_>, pod: Option<&Pod>) {
    if !has_finalizer(turn.sandbox) {
        turn.decision.actions.push(Action::AddFinalizer);
    }
    let message = match pod.filter(|pod| is_owned(turn.sandbox, pod)) {
        Some(pod) if pod.metadata.deletion_timestamp.is_some() => return,
        Some(pod) => {
            if !sleep::put_to_sleep(turn, pod) {
                return;
            }
            sleep::KEPT
        }
        None => sleep::GONE,
    };
    let conditions = &mut turn.status.conditions;
    conditions::set(conditions, types::SANDBOX_PAUSED, true, reasons::STOP_PAUSE_SUCCEED, message, turn.now);
    if !turn.sandbox.spec.paused {
        resume::begin(turn.now, &mut turn.status);
    } else if wake::is_wanted(turn.sandbox) {
        wake::begin(turn);
    }
}

pub(super) fn has_finalizer(sandbox: &Sandbox) -> bool {
    sandbox.finalizers().iter().any(|finalizer| finalizer == finalizers::SANDBOX)
}
