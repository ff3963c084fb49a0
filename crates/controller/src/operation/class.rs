//! What a sandbox is to an operation (`kubernetes.md` §7.2).

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxPhase, SandboxUpdateOps, TargetState};
use contract::names::{annotations, labels};
use contract::state::owning_set;
use kube::ResourceExt as _;
use serde_json::Value;

use super::template::patched;
use crate::sandbox::preserve;

/// What a sandbox is to an operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Class {
    /// None of its business, or already as the patch would have it.
    Skipped,
    /// On its way into a pause; it can be woken once that is done.
    Pausing,
    /// To be upgraded to that template.
    Candidate(Value),
    /// Being upgraded.
    Updating,
    /// Woken for the upgrade, waiting for that template.
    Woken(Value),
    /// Upgraded. Whether that is written down in it.
    Updated { settled: bool },
    /// Not upgraded, and why. Whether that is written down in it.
    Failed { why: String, marked: bool },
    /// The patch can't be applied to it, and why; it was left alone.
    Unfit(String),
}

/// The class of a `sandbox` that the operation's selector matches or that is labelled with its name.
pub(super) fn of(operation: &SandboxUpdateOps, sandbox: &Sandbox) -> Class {
    if sandbox.metadata.deletion_timestamp.is_some() || owning_set(sandbox).is_some() {
        return Class::Skipped;
    }
    if is_labelled(operation, sandbox) { begun(operation, sandbox) } else { untouched(operation, sandbox) }
}

/// Whether the sandbox says that this operation handles it.
pub(super) fn is_labelled(operation: &SandboxUpdateOps, sandbox: &Sandbox) -> bool {
    sandbox.labels().get(labels::UPDATE_OPS).is_some_and(|name| *name == operation.name_any())
}

fn untouched(operation: &SandboxUpdateOps, sandbox: &Sandbox) -> Class {
    let phase = phase(sandbox);
    if !includes(operation, &phase) {
        return Class::Skipped;
    }
    if phase == SandboxPhase::Paused && !sandbox.spec.paused {
        return Class::Skipped;
    }
    let template = match patched(operation, sandbox) {
        Ok(template) => template,
        Err(why) => return Class::Unfit(why),
    };
    // one that an earlier operation left on its way is taken over
    let conditions = sandbox.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let stayed_behind = preserve::has_failed(conditions);
    let is_behind = phase == SandboxPhase::Upgrading || stayed_behind;
    if sandbox.spec.template.as_ref() == Some(&template) && !is_behind {
        return Class::Skipped;
    }
    if phase == SandboxPhase::Paused && !conditions::is_true(conditions, types::SANDBOX_PAUSED) {
        return Class::Pausing;
    }
    Class::Candidate(template)
}

/// Running unless the filter says otherwise; Upgrading always.
fn includes(operation: &SandboxUpdateOps, phase: &SandboxPhase) -> bool {
    let filter = operation.spec.state_filter.as_ref();
    let states = filter.map(|filter| filter.states.as_slice()).filter(|states| !states.is_empty());
    let states = states.unwrap_or(&[TargetState::Running]);
    match phase {
        SandboxPhase::Upgrading => true,
        SandboxPhase::Running => states.contains(&TargetState::Running),
        SandboxPhase::Paused => states.contains(&TargetState::Paused),
        _ => false,
    }
}

/// A sandbox with the label stays tracked whatever its phase. The policy is there from the beginning of its upgrade until
/// its end is written down.
fn begun(operation: &SandboxUpdateOps, sandbox: &Sandbox) -> Class {
    let status = sandbox.status.clone().unwrap_or_default();
    let marked = sandbox.labels().get(labels::UPGRADE_FAILED).is_some_and(|value| value == "true");
    let failed = |why: String| Class::Failed { why, marked };
    let waking = sandbox.annotations().contains_key(annotations::UPGRADE_RESUME_TRIGGER);
    let unsettled = waking || sandbox.spec.upgrade_policy.is_some();
    if unsettled && status.phase.is_final() {
        let message = status.message.unwrap_or_else(|| "its pod has ended".to_owned());
        return failed(format!("{}: {message}", status.phase.as_str()));
    }
    if unsettled && status.observed_generation != sandbox.metadata.generation {
        return Class::Updating;
    }
    let condition = conditions::find(&status.conditions, types::UPGRADING);
    let reason = condition.map(|condition| condition.reason.as_str()).unwrap_or_default();
    if let Some(condition) = condition.filter(|it| it.status == "False" && it.reason.ends_with("Failed")) {
        return failed(format!("{}: {}", condition.reason, condition.message));
    }
    let is_woken = reason == reasons::RESUME_SUCCEED || (waking && status.phase == SandboxPhase::Running);
    if is_woken {
        return match patched(operation, sandbox) {
            Ok(template) => Class::Woken(template),
            Err(why) => failed(why),
        };
    }
    let is_done = condition.is_some_and(|condition| condition.status == "True");
    // its pod was what the patch makes of it already: there was nothing to upgrade
    let needed_nothing = condition.is_none() && status.phase == SandboxPhase::Running;
    if !waking && (is_done || needed_nothing) {
        return Class::Updated { settled: !unsettled && !marked };
    }
    Class::Updating
}

pub(super) fn phase(sandbox: &Sandbox) -> SandboxPhase {
    sandbox.status.as_ref().map(|status| status.phase.clone()).unwrap_or_default()
}
