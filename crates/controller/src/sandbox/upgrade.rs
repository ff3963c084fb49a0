//! Replacing upgrade (`kubernetes.md` §5.9), as pure functions: the pod goes and one of the new template comes.
//!
//! ```text
//! Running, template ≠ pod, upgradePolicy ─► Upgrading: PreUpgrade ─► UpgradePod: old pod deleted, new one made, ready, mounts back
//!     ─► PostUpgrade ─► Running
//!     └► what this controller can't do: stays Running, condition and one event
//! ```
//! A paused Sandbox comes here by way of [`wake`]. As with a pause the phase is written before the pod is touched. Runtime and mounts come back as after any replaced
//! container.

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxPhase, SandboxStatus, UpgradePolicyType};
use contract::hash;
use contract::names::{events, labels};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::decide::{Action, Decision, finish, own_pod};
use super::hook::Hook;
use super::initialisation::{self, Attempt};
use super::{of_generation, ready, status as pod_status, wake};
use crate::announce::Announcement;

/// Begins an upgrade where one is wanted and possible; whether it did.
pub(super) fn begin(
    sandbox: &Sandbox,
    pod: &Pod,
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) -> bool {
    if sandbox.spec.upgrade_policy.is_none() || is_current(sandbox, pod) {
        if conditions::find(&status.conditions, types::UPGRADING).is_some_and(|it| it.status == "False") {
            conditions::remove(&mut status.conditions, types::UPGRADING);
        }
        return false;
    }
    if let Some((reason, message)) = unsupported(sandbox) {
        if !of_generation::has_reason(sandbox, status, types::UPGRADING, reason) {
            decision.events.push(Announcement::warning(reason, message));
        }
        of_generation::set(sandbox, status, types::UPGRADING, false, reason, message, now);
        return false;
    }
    enter(status);
    prepare(sandbox, now, status);
    true
}

/// Enters phase Upgrading; what an update of before said is forgotten.
pub(super) fn enter(status: &mut SandboxStatus) {
    status.phase = SandboxPhase::Upgrading;
    for kind in [types::UPGRADING, types::INPLACE_UPDATE] {
        conditions::remove(&mut status.conditions, kind);
    }
}

/// There is nothing to upgrade any more: the Sandbox runs on with the pod that it has.
pub(super) fn leave(
    sandbox: &Sandbox,
    pod: &Pod,
    attempt: Option<&Attempt>,
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) {
    status.phase = SandboxPhase::Running;
    conditions::remove(&mut status.conditions, types::UPGRADING);
    let held = initialisation::follow(sandbox, pod, attempt, now, status, decision);
    ready::sync(status, pod, held, now);
}

/// Phase Upgrading: the old pod goes, a new one is made, and once it is ready with its mounts the Sandbox runs.
pub(super) fn follow(
    sandbox: &Sandbox,
    pod: Option<&Pod>,
    attempt: Option<&Attempt>,
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) {
    if pod.is_none() && Hook::PreUpgrade.is_due(status) {
        // nothing is left that it could run in
        replace(now, status);
    }
    let Some(pod) = own_pod(sandbox, pod, status, decision) else { return };
    if wake::is_under_way(status) {
        return wake::follow(sandbox, pod, attempt, now, status, decision);
    }
    if Hook::PreUpgrade.is_due(status) {
        return before(sandbox, pod, attempt, now, status, decision);
    }
    if !is_current(sandbox, pod) {
        decision.actions.push(Action::DeletePod { uid: pod.uid().unwrap_or_default() });
        return hold(status, reasons::UPGRADE_POD, "the pod is being replaced", now);
    }
    if let phase @ ("Succeeded" | "Failed") = ready::pod_phase(pod) {
        return finish(status, phase, now);
    }
    pod_status::copy_pod(status, pod);
    let held = initialisation::follow(sandbox, pod, attempt, now, status, decision);
    match (held, ready::obstacle(pod)) {
        (None, _) if ready::is_ready(pod) => finish_up(sandbox, pod, attempt, now, status, decision),
        (_, Some(message)) => {
            fail(&message, now, status, decision);
        }
        (held, None) => hold(status, reasons::UPGRADE_POD, held.unwrap_or("the new pod is starting"), now),
    }
}

/// The pod doesn't start; told once. It goes on by itself when the node gets it to start.
pub(super) fn fail(message: &str, now: Timestamp, status: &mut SandboxStatus, decision: &mut Decision) {
    let is_told = conditions::find(&status.conditions, types::UPGRADING)
        .is_some_and(|condition| condition.reason == reasons::UPGRADE_POD_FAILED);
    hold(status, reasons::UPGRADE_POD_FAILED, message, now);
    if !is_told {
        decision.events.push(Announcement::warning(events::UPGRADE_POD_FAILED, message));
    }
}

/// `PreUpgrade`: the old pod is still there, with everything that it has.
fn before(
    sandbox: &Sandbox,
    pod: &Pod,
    attempt: Option<&Attempt>,
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) {
    pod_status::copy_pod(status, pod);
    if is_current(sandbox, pod) {
        // the template was put back
        return leave(sandbox, pod, attempt, now, status, decision);
    }
    let has_ended = matches!(ready::pod_phase(pod), "Succeeded" | "Failed");
    let hook = Hook::PreUpgrade;
    if has_ended
        || hook.action(sandbox).is_none()
        || hook.follow(sandbox, pod, attempt, now, status, decision)
    {
        replace(now, status);
    }
}

/// The new pod is ready with its mounts: `PostUpgrade`, and the end.
fn finish_up(
    sandbox: &Sandbox,
    pod: &Pod,
    attempt: Option<&Attempt>,
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) {
    let hook = Hook::PostUpgrade;
    if !hook.is_due(status) {
        let message = "The pod was replaced by one of the new template";
        decision.events.push(Announcement::normal(events::UPGRADE_POD_REPLACED, message));
        if hook.action(sandbox).is_some() {
            // written first: what was initialised is then remembered
            return hook.announce(now, status);
        }
    }
    if hook.action(sandbox).is_none() || hook.follow(sandbox, pod, attempt, now, status, decision) {
        complete(pod, now, status, decision);
    }
}

fn complete(pod: &Pod, now: Timestamp, status: &mut SandboxStatus, decision: &mut Decision) {
    status.phase = SandboxPhase::Running;
    conditions::set(&mut status.conditions, types::UPGRADING, true, reasons::SUCCEEDED, "", now);
    ready::sync(status, pod, None, now);
    decision.events.push(Announcement::normal(events::UPGRADE_SUCCEEDED, "Sandbox was upgraded"));
}

/// What is told of a Sandbox that runs again.
pub(super) fn outcome(status: &SandboxStatus) -> &'static str {
    if conditions::is_true(&status.conditions, types::UPGRADING) {
        "Sandbox was upgraded"
    } else {
        "Sandbox runs again, its upgrade was taken back"
    }
}

/// `PreUpgrade` where there is such a hook, and the replacement at once where there is none.
pub(super) fn prepare(sandbox: &Sandbox, now: Timestamp, status: &mut SandboxStatus) {
    if Hook::PreUpgrade.action(sandbox).is_some() {
        Hook::PreUpgrade.announce(now, status);
    } else {
        replace(now, status);
    }
}

/// The old pod goes and a new one comes.
fn replace(now: Timestamp, status: &mut SandboxStatus) {
    hold(status, reasons::UPGRADE_POD, "the pod is being replaced", now);
    initialisation::expect_another(status);
}

/// Whether the pod is of the Sandbox's template; one that doesn't say is left alone.
pub(super) fn is_current(sandbox: &Sandbox, pod: &Pod) -> bool {
    let revision = pod.labels().get(labels::POD_TEMPLATE_HASH);
    revision.is_none_or(|revision| *revision == hash::update_revision(sandbox))
}

/// What of the wanted upgrade this controller doesn't do: reason and message.
fn unsupported(sandbox: &Sandbox) -> Option<(&'static str, &'static str)> {
    let policy = sandbox.spec.upgrade_policy.as_ref().and_then(|policy| policy.kind);
    if policy == Some(UpgradePolicyType::CheckpointRestore) {
        let message = "an upgrade with a checkpoint is not supported by this controller: use upgradePolicy.type Recreate";
        return Some((reasons::CHECKPOINT_FAILED, message));
    }
    None
}

pub(super) fn hold(status: &mut SandboxStatus, reason: &str, message: &str, now: Timestamp) {
    conditions::set(&mut status.conditions, types::UPGRADING, false, reason, message, now);
    conditions::set(&mut status.conditions, types::READY, false, reasons::UPGRADING, message, now);
}
