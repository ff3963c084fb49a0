//! Conditions that say which generation of the Sandbox they are about, so that each is told once.

use contract::conditions;
use contract::crd::{Sandbox, SandboxStatus};
use jiff::Timestamp;

/// Whether the condition has this reason already, for the generation of now.
pub(super) fn has_reason(sandbox: &Sandbox, status: &SandboxStatus, kind: &str, reason: &str) -> bool {
    conditions::find(&status.conditions, kind).is_some_and(|condition| {
        condition.reason == reason && condition.observed_generation == sandbox.metadata.generation
    })
}

/// Writes the condition, with the generation of now.
pub(super) fn set(
    sandbox: &Sandbox,
    status: &mut SandboxStatus,
    kind: &str,
    is_true: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    conditions::set(&mut status.conditions, kind, is_true, reason, message, now);
    if let Some(condition) = status.conditions.iter_mut().find(|condition| condition.type_ == kind) {
        condition.observed_generation = sandbox.metadata.generation;
    }
}
