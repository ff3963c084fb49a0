//! Waking a paused Sandbox for an upgrade (`kubernetes.md` §5.9), as pure functions.
//!
//! ```text
//! Paused, mark `upgrade-resume-trigger` ─► Upgrading: Resuming ─► a pod of the template of before is ready: ResumeSucceed
//!     ─► template changed ─► the upgrade
//!     └► mark taken off, template as it was ─► Running, and paused again
//! ```
//! `spec.paused` stays as it is: after its upgrade the Sandbox pauses again.

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxStatus};
use contract::names::{annotations, events};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::decide::{Decision, finish};
use super::hook::Hook;
use super::initialisation::{self, Attempt};
use super::sleep::{self, Rousing};
use super::{ready, status as pod_status, upgrade};
use crate::announce::Announcement;

/// Whether somebody wants a paused Sandbox to be woken for an upgrade.
pub(super) fn is_wanted(sandbox: &Sandbox) -> bool {
    sandbox.annotations().get(annotations::UPGRADE_RESUME_TRIGGER).is_some_and(|value| value == "true")
}

/// Begins it.
pub(super) fn begin(now: Timestamp, status: &mut SandboxStatus, decision: &mut Decision) {
    upgrade::enter(status);
    upgrade::hold(status, reasons::RESUMING, "the sandbox wakes up to be upgraded", now);
    let message = "The paused sandbox is woken with the template it was paused with";
    decision.events.push(Announcement::normal(events::UPGRADE_RESUMING, message));
}

/// Whether the Sandbox is waking up, or awake and waiting for its new template.
pub(super) fn is_under_way(status: &SandboxStatus) -> bool {
    let reason = conditions::find(&status.conditions, types::UPGRADING).map(|it| it.reason.as_str());
    matches!(reason, Some(reasons::RESUMING | reasons::RESUME_SUCCEED))
}

/// Phase Upgrading until the upgrade itself begins. `pod` is the Sandbox's.
pub(super) fn follow(
    sandbox: &Sandbox,
    pod: &Pod,
    attempt: Option<&Attempt>,
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) {
    if sleep::rouse(pod, decision) == Rousing::UnderWay {
        return upgrade::hold(status, reasons::RESUMING, "the sandbox wakes up to be upgraded", now);
    }
    if let phase @ ("Succeeded" | "Failed") = ready::pod_phase(pod) {
        return finish(status, phase, now);
    }
    pod_status::copy_pod(status, pod);
    if let Some(message) = ready::obstacle(pod) {
        return upgrade::fail(&message, now, status, decision);
    }
    if !ready::is_ready(pod) {
        return upgrade::hold(status, reasons::RESUMING, "the sandbox wakes up to be upgraded", now);
    }
    if Hook::PreUpgrade.action(sandbox).is_some()
        && initialisation::follow(sandbox, pod, attempt, now, status, decision).is_some()
    {
        // the hook is to find the runtime and the mounts as they were
        return upgrade::hold(status, reasons::RESUMING, "the runtime and the mounts are brought back", now);
    }
    let is_told = conditions::remove(&mut status.conditions, types::SANDBOX_PAUSED);
    if is_told {
        let message = "The paused sandbox is awake and waits for its new template";
        decision.events.push(Announcement::normal(events::UPGRADE_RESUMED, message));
    }
    if !upgrade::is_current(sandbox, pod) {
        return upgrade::prepare(sandbox, now, status);
    }
    if is_wanted(sandbox) {
        return upgrade::hold(status, reasons::RESUME_SUCCEED, "waits for the new template", now);
    }
    upgrade::leave(sandbox, pod, attempt, now, status, decision);
}
