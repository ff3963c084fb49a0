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

use super::decide::{Action, Decision, is_owned};
use super::sleep::Keeping;
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
pub(super) fn note_refusal(
    sandbox: &Sandbox,
    storage: &Verdict,
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) {
    let wanted = sandbox.spec.paused || deadlines::pause_is_due(sandbox, now);
    match storage {
        Verdict::Refused(problem) if wanted => refuse(sandbox, problem, now, status, decision),
        _ => {
            conditions::remove(&mut status.conditions, types::SANDBOX_PAUSED);
        }
    }
}

fn refuse(
    sandbox: &Sandbox,
    problem: &Problem,
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) {
    let (kind, reason) = (types::SANDBOX_PAUSED, reasons::STORAGE_NOT_HIBERNATABLE);
    let told = of_generation::has_reason(sandbox, status, kind, reason);
    let message = if sandbox.spec.paused {
        problem.message().to_owned()
    } else {
        format!("the automatic pause does not take place: {}", problem.message())
    };
    of_generation::set(sandbox, status, kind, false, reason, &message, now);
    if !told {
        decision.events.push(Announcement::warning(events::STORAGE_NOT_HIBERNATABLE, message));
    }
    if sandbox.spec.paused {
        decision.wake_at = [decision.wake_at, now.checked_add(LOOK_AGAIN).ok()].into_iter().flatten().min();
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
pub(super) fn follow(
    sandbox: &Sandbox,
    pod: Option<&Pod>,
    keeping: &Keeping,
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) {
    if !has_finalizer(sandbox) {
        decision.actions.push(Action::AddFinalizer);
    }
    let message = match pod.filter(|pod| is_owned(sandbox, pod)) {
        Some(pod) if pod.metadata.deletion_timestamp.is_some() => return,
        Some(pod) => {
            if !sleep::put_to_sleep(pod, keeping, now, status, decision) {
                return;
            }
            sleep::KEPT
        }
        None => sleep::GONE,
    };
    let conditions = &mut status.conditions;
    conditions::set(conditions, types::SANDBOX_PAUSED, true, reasons::STOP_PAUSE_SUCCEED, message, now);
    if !sandbox.spec.paused {
        resume::begin(now, status);
    } else if wake::is_wanted(sandbox) {
        wake::begin(now, status, decision);
    }
}

pub(super) fn has_finalizer(sandbox: &Sandbox) -> bool {
    sandbox.finalizers().iter().any(|finalizer| finalizer == finalizers::SANDBOX)
}
