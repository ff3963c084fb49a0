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
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::decide::finish;
use super::hook::Hook;
use super::initialisation;
use super::sleep::{self, Rousing};
use super::turn::Turn;
use super::{ready, status as pod_status, upgrade};
use crate::announce::Announcement;

/// Whether somebody wants a paused Sandbox to be woken for an upgrade.
pub(super) fn is_wanted(sandbox: &Sandbox) -> bool {
    sandbox.annotations().get(annotations::UPGRADE_RESUME_TRIGGER).is_some_and(|value| value == "true")
}

/// Begins it.
pub(super) fn begin(turn: &mut Turn<'_>) {
    upgrade::enter(&mut turn.status);
    upgrade::hold(&mut turn.status, reasons::RESUMING, "the sandbox wakes up to be upgraded", turn.now);
    let message = "The paused sandbox is woken with the template it was paused with";
    turn.decision.events.push(Announcement::normal(events::UPGRADE_RESUMING, message));
}

/// Whether the Sandbox is waking up, or awake and waiting for its new template.
pub(super) fn is_under_way(status: &SandboxStatus) -> bool {
    let reason = conditions::find(&status.conditions, types::UPGRADING).map(|it| it.reason.as_str());
    matches!(reason, Some(reasons::RESUMING | reasons::RESUME_SUCCEED))
}

/// Phase Upgrading until the upgrade itself begins. `pod` is the Sandbox's.
pub(super) fn follow(turn: &mut Turn<'_>, pod: &Pod) {
    if sleep::rouse(turn, pod) == Rousing::UnderWay {
        return upgrade::hold(
            &mut turn.status,
            reasons::RESUMING,
            "the sandbox wakes up to be upgraded",
            turn.now,
        );
    }
    if let phase @ ("Succeeded" | "Failed") = ready::pod_phase(pod) {
        return finish(&mut turn.status, phase, turn.now);
    }
    pod_status::copy_pod(&mut turn.status, pod);
    if let Some(message) = ready::obstacle(pod) {
        return upgrade::fail(turn, &message);
    }
    if !ready::is_ready(pod) {
        return upgrade::hold(
            &mut turn.status,
            reasons::RESUMING,
            "the sandbox wakes up to be upgraded",
            turn.now,
        );
    }
    if Hook::PreUpgrade.action(turn.sandbox).is_some() && initialisation::follow(turn, pod).is_some() {
        // the hook is to find the runtime and the mounts as they were
        return upgrade::hold(
            &mut turn.status,
            reasons::RESUMING,
            "the runtime and the mounts are brought back",
            turn.now,
        );
    }
    let is_told = conditions::remove(&mut turn.status.conditions, types::SANDBOX_PAUSED);
    if is_told {
        let message = "The paused sandbox is awake and waits for its new template";
        turn.decision.events.push(Announcement::normal(events::UPGRADE_RESUMED, message));
    }
    if !upgrade::is_current(turn.sandbox, pod) {
        return upgrade::prepare(turn.sandbox, turn.now, &mut turn.status);
    }
    if is_wanted(turn.sandbox) {
        return upgrade::hold(
            &mut turn.status,
            reasons::RESUME_SUCCEED,
            "waits for the new template",
            turn.now,
        );
    }
    upgrade::leave(turn, pod);
}
