//! The derived state of a sandbox that pool, claim and API go by (`kubernetes.md` §1.10).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::conditions::{self, reasons, types};
use crate::crd::{Sandbox, SandboxPhase};

/// Derived state of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxState {
    /// On its way; not to be claimed yet.
    Creating,
    /// Ready and unclaimed.
    Available,
    /// Claimed and ready.
    Running,
    /// Claimed and paused, pausing or in some other phase.
    Paused,
    /// Ended, ending, or claimed and not ready. Never delete a claimed sandbox on this alone.
    Dead,
}

/// The state of `sandbox` at `now`.
pub fn derive(sandbox: &Sandbox, now: Timestamp) -> SandboxState {
    let status = sandbox.status.as_ref();
    let phase = status.map_or(&SandboxPhase::None, |status| &status.phase);
    let ready = is_ready(sandbox);
    let expired = sandbox.spec.shutdown_time.as_ref().is_some_and(|deadline| deadline.0 < now);
    if sandbox.metadata.deletion_timestamp.is_some() || expired {
        return SandboxState::Dead;
    }
    match phase {
        SandboxPhase::Pending => SandboxState::Creating,
        SandboxPhase::Succeeded | SandboxPhase::Failed | SandboxPhase::Terminating => SandboxState::Dead,
        _ if owning_set(sandbox).is_some() => {
            if ready {
                SandboxState::Available
            } else {
                SandboxState::Creating
            }
        }
        SandboxPhase::Running if sandbox.spec.paused && !pause_is_refused(sandbox) => SandboxState::Paused,
        SandboxPhase::Running if ready => SandboxState::Running,
        SandboxPhase::Running => SandboxState::Dead,
        _ => SandboxState::Paused,
    }
}

/// The reference to the SandboxSet that controls `sandbox`, if one does.
pub fn owning_set(sandbox: &Sandbox) -> Option<&OwnerReference> {
    let owners = sandbox.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true) && owner.kind == "SandboxSet")
}

/// Whether condition Ready is True.
pub fn is_ready(sandbox: &Sandbox) -> bool {
    sandbox.status.as_ref().is_some_and(|status| conditions::is_true(&status.conditions, types::READY))
}

/// Whether the controller refused the pause that was asked for, because of mounted storage: the sandbox keeps running
/// (DECISIONS 2).
pub fn pause_is_refused(sandbox: &Sandbox) -> bool {
    sandbox
        .status
        .as_ref()
        .and_then(|status| conditions::find(&status.conditions, types::SANDBOX_PAUSED))
        .is_some_and(|condition| condition.reason == reasons::STORAGE_NOT_HIBERNATABLE)
}

/// The address of the sandbox's pod, as the controller copied it.
pub fn pod_ip(sandbox: &Sandbox) -> Option<&str> {
    let status = sandbox.status.as_ref()?;
    let in_pod_info = status.pod_info.as_ref().and_then(|info| info.pod_ip.as_deref());
    in_pod_info.or(status.sandbox_ip.as_deref()).filter(|ip| !ip.is_empty())
}
