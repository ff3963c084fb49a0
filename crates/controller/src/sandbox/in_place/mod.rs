//! In-place update: what of a changed template reaches the running pod, and how (`kubernetes.md` §5.8).
//!
//! ```text
//! template ≠ pod ─► labels, annotations ──────────────────────────────────────► patched
//!                ├► images, resources ─► False/InplaceUpdating ─► patched ─► node at work ─► True/Succeeded
//!                │                              ▲                     └► does not start: False/Failed, goes on
//!                │                              └─ another change, at any time
//!                └► anything else, another class of service, or refused by the API: False/Failed, pod untouched
//! ```
//! The condition is written before the pod is touched, so that whoever waits for the new generation never takes the
//! old container for the new one. Another update may follow at any time (decision D-4), also one that puts back what
//! was there: nothing else would help a container that doesn't start.

mod compare;
mod patch;
mod progress;
mod state;

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxStatus};
use contract::names::events;
use contract::qos;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

pub(super) use patch::{patch_metadata, update};

use super::decide::Action;
use super::of_generation;
use super::turn::Turn;
use crate::announce::Announcement;
use compare::{Change, Difference, compare};
use progress::Progress;
use state::UpdateState;

/// What an in-place update means for the rest of the turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is none that anything has to wait for.
    Settled,
    /// It has just been completed.
    Completed,
    /// It is under way; what is missing.
    InFlight(String),
}

/// Decides about the update of `pod` to the template of `sandbox`.
pub(super) fn follow(turn: &mut Turn<'_>, pod: &Pod) -> Standing {
    let revision = turn.status.update_revision.clone().unwrap_or_default();
    match compare(turn.sandbox, pod) {
        Difference::None => evaluate(turn, pod),
        Difference::Metadata => {
            turn.decision.actions.push(Action::PatchPodMetadata { revision });
            evaluate(turn, pod)
        }
        Difference::Containers(change) => begin(turn, pod, &change),
        Difference::Forbidden => {
            let message = "only labels, annotations, images and resources can change in place: the pod is left as it is; \
                           put back what else was changed, or make a new sandbox";
            fail(turn, events::INPLACE_UPDATE_FORBIDDEN, message);
            Standing::Settled
        }
    }
}

fn begin(turn: &mut Turn<'_>, pod: &Pod, change: &Change) -> Standing {
    if has_failed(turn.sandbox, &turn.status) {
        return Standing::Settled;
    }
    let spec = pod.spec.clone().unwrap_or_default();
    let (before, after) = (qos::class(&spec), qos::class(&change.resized(&spec)));
    if before != after {
        let message = format!(
            "the resources would make the pod {after} in place of {before}, and its quality of service can't change \
             in place; change requests and limits so that it stays"
        );
        fail(turn, events::INPLACE_UPDATE_FAILED, &message);
        return Standing::Settled;
    }
    if is_announced(&turn.status) {
        let revision = turn.status.update_revision.clone().unwrap_or_default();
        turn.decision.actions.push(Action::UpdatePod { revision });
    }
    let missing = "the pod is being updated in place".to_owned();
    set(turn.sandbox, &mut turn.status, false, reasons::INPLACE_UPDATING, &missing, turn.now);
    Standing::InFlight(missing)
}

/// How far the update is that made the pod what it is.
fn evaluate(turn: &mut Turn<'_>, pod: &Pod) -> Standing {
    let is_done = conditions::is_true(&turn.status.conditions, types::INPLACE_UPDATE);
    let Some(state) = UpdateState::of(pod).filter(|_| !is_done) else {
        if !is_done {
            // of an update that was taken back, or of a pod that is gone
            conditions::remove(&mut turn.status.conditions, types::INPLACE_UPDATE);
        }
        return Standing::Settled;
    };
    match progress::progress(pod, &state) {
        Progress::Complete => {
            set(turn.sandbox, &mut turn.status, true, reasons::SUCCEEDED, "", turn.now);
            Standing::Completed
        }
        Progress::UnderWay(missing) => {
            set(turn.sandbox, &mut turn.status, false, reasons::INPLACE_UPDATING, &missing, turn.now);
            Standing::InFlight(missing)
        }
        Progress::Stuck(why) => {
            let is_told = conditions::find(&turn.status.conditions, types::INPLACE_UPDATE)
                .is_some_and(|condition| condition.reason == reasons::FAILED);
            set(turn.sandbox, &mut turn.status, false, reasons::FAILED, &why, turn.now);
            if !is_told {
                turn.decision.events.push(Announcement::warning(events::INPLACE_UPDATE_FAILED, why));
            }
            Standing::Settled
        }
    }
}

/// A change that can't be made: told once per generation, and not tried again before the next.
fn fail(turn: &mut Turn<'_>, event: &'static str, message: &str) {
    if !has_failed(turn.sandbox, &turn.status) {
        turn.decision.events.push(Announcement::warning(event, message));
    }
    set(turn.sandbox, &mut turn.status, false, reasons::FAILED, message, turn.now);
}

/// The API refused to change the pod.
fn refuse(sandbox: &Sandbox, status: &mut SandboxStatus, message: &str, now: Timestamp) {
    set(sandbox, status, false, reasons::FAILED, message, now);
}

fn is_announced(status: &SandboxStatus) -> bool {
    conditions::find(&status.conditions, types::INPLACE_UPDATE)
        .is_some_and(|condition| condition.reason == reasons::INPLACE_UPDATING)
}

/// Whether the update to this very generation is known to be impossible.
fn has_failed(sandbox: &Sandbox, status: &SandboxStatus) -> bool {
    of_generation::has_reason(sandbox, status, types::INPLACE_UPDATE, reasons::FAILED)
}

fn set(
    sandbox: &Sandbox,
    status: &mut SandboxStatus,
    is_true: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    of_generation::set(sandbox, status, types::INPLACE_UPDATE, is_true, reason, message, now);
}
