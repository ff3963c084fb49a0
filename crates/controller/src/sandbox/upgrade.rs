//! Replacing upgrade (`kubernetes.md` §5.9), as pure functions: the pod goes and one of the new template comes.
//!
//! ```text
//! Running, template ≠ pod, upgradePolicy ─► Upgrading: PreUpgrade ─► Checkpointing ─► UpgradePod: old pod deleted, new one made, ready,
//!     mounts back ─► PostUpgrade ─► Running                               └► CheckpointFailed: Running as before, condition and one event
//! ```
//! A paused Sandbox comes here by way of [`wake`]. As with a pause the phase is written before the pod is touched. Runtime and mounts come
//! back as after any replaced container. `Checkpointing` is there with policy `CheckpointRestore` ([`preserve`]); whoever has that policy
//! loses no file on the way: without its checkpoint the old pod stays.

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxPhase, SandboxStatus};
use contract::hash;
use contract::names::{events, labels};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::decide::{Action, finish, lose_pod, own_pod};
use super::hook::Hook;
use super::initialisation;
use super::preserve::{self, Step};
use super::turn::Turn;
use super::{of_generation, ready, status as pod_status, wake};
use crate::announce::Announcement;

/// Begins an upgrade where one is wanted and possible; whether it did.
pub(super) fn begin(turn: &mut Turn<'_>, pod: &Pod) -> bool {
    let is_current = is_current(turn.sandbox, pod);
    if turn.sandbox.spec.upgrade_policy.is_none() || is_current {
        let told = conditions::find(&turn.status.conditions, types::UPGRADING);
        // that its files could not be kept is why the pod isn't of the template, whoever took the policy off
        let explains = !is_current && preserve::has_failed(&turn.status.conditions);
        if told.is_some_and(|told| told.status == "False") && !explains {
            conditions::remove(&mut turn.status.conditions, types::UPGRADING);
        }
        return false;
    }
    if preserve::holds_back(turn) {
        return false;
    }
    enter(&mut turn.status);
    prepare(turn.sandbox, turn.now, &mut turn.status);
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
pub(super) fn leave(turn: &mut Turn<'_>, pod: &Pod) {
    turn.status.phase = SandboxPhase::Running;
    conditions::remove(&mut turn.status.conditions, types::UPGRADING);
    let held = initialisation::follow(turn, pod);
    ready::sync(&mut turn.status, pod, held, turn.now);
}

/// Phase Upgrading: the old pod goes, a new one is made, and once it is ready with its mounts the Sandbox runs.
pub(super) fn follow(turn: &mut Turn<'_>, pod: Option<&Pod>) {
    if pod.is_none() && !is_resolved_without_pod(turn) {
        return;
    }
    let Some(pod) = own_pod(turn, pod) else { return };
    if wake::is_under_way(&turn.status) {
        return wake::follow(turn, pod);
    }
    let keeps_files = preserve::is_due(&turn.status);
    if keeps_files || Hook::PreUpgrade.is_due(&turn.status) {
        // the old pod is still there, with everything that it has
        pod_status::copy_pod(&mut turn.status, pod);
        return match is_current(turn.sandbox, pod) {
            // the template was put back
            true => leave(turn, pod),
            false if keeps_files => keep_files(turn, pod),
            false => before(turn, pod),
        };
    }
    if !is_current(turn.sandbox, pod) {
        turn.decision.actions.push(Action::DeletePod { uid: pod.uid().unwrap_or_default() });
        return hold(&mut turn.status, reasons::UPGRADE_POD, "the pod is being replaced", turn.now);
    }
    if let phase @ ("Succeeded" | "Failed") = ready::pod_phase(pod) {
        return finish(&mut turn.status, phase, turn.now);
    }
    pod_status::copy_pod(&mut turn.status, pod);
    let held = initialisation::follow(turn, pod);
    match (held, ready::obstacle(pod)) {
        (None, _) if ready::is_ready(pod) => finish_up(turn, pod),
        (_, Some(message)) => {
            fail(turn, &message);
        }
        (held, None) => {
            hold(&mut turn.status, reasons::UPGRADE_POD, held.unwrap_or("the new pod is starting"), turn.now);
        }
    }
}

/// The pod has gone by itself. Whether the upgrade goes on: before the replacement, what was to be kept may be lost.
fn is_resolved_without_pod(turn: &mut Turn<'_>) -> bool {
    if Hook::PreUpgrade.is_due(&turn.status) {
        if preserve::is_wanted(turn.sandbox) {
            lose_pod("Pod Not Found: its files were to be kept for the upgrade", turn.now, &mut turn.status);
            return false;
        }
        // nothing is left that it could run in
        replace(turn.now, &mut turn.status);
    } else if preserve::is_due(&turn.status) {
        let old = turn.status.pod_info.as_ref().and_then(|info| info.pod_uid.clone()).unwrap_or_default();
        match preserve::follow(turn, (&old, false)) {
            Step::Kept => replace(turn.now, &mut turn.status),
            Step::Waiting => return false,
            Step::Failed(why) | Step::Refused(why) => {
                lose_pod(&format!("Pod Not Found: {why}"), turn.now, &mut turn.status);
                return false;
            }
        }
    }
    true
}

/// `Checkpointing`: the old pod is there until its files are kept, and stays when they can't be.
fn keep_files(turn: &mut Turn<'_>, pod: &Pod) {
    if let phase @ ("Succeeded" | "Failed") = ready::pod_phase(pod) {
        return finish(&mut turn.status, phase, turn.now);
    }
    let old = pod.uid().unwrap_or_default();
    match preserve::follow(turn, (&old, true)) {
        Step::Waiting => {}
        Step::Kept => {
            let message = "A checkpoint has the files of the old pod, the new one is made from it";
            turn.decision.events.push(Announcement::normal(events::CHECKPOINT_SUCCEEDED, message));
            replace(turn.now, &mut turn.status);
        }
        step @ (Step::Failed(_) | Step::Refused(_)) => {
            leave(turn, pod);
            let (reason, why) = match step {
                Step::Refused(why) => (reasons::CHECKPOINT_CREATE_FAILED, why),
                Step::Failed(why) => (reasons::CHECKPOINT_FAILED, why),
                Step::Waiting | Step::Kept => return,
            };
            let message = note_unkept(turn.sandbox, reason, &why, turn.now, &mut turn.status);
            turn.decision.events.push(Announcement::warning(events::CHECKPOINT_FAILED, message));
        }
    }
}

/// Says why files can't be kept, so that there is no upgrade of this generation of the Sandbox.
pub(super) fn note_unkept(
    sandbox: &Sandbox,
    reason: &str,
    why: &str,
    now: Timestamp,
    status: &mut SandboxStatus,
) -> String {
    let message = format!("the sandbox runs on as it was, for its files can't be kept: {why}");
    of_generation::set(sandbox, status, types::UPGRADING, false, reason, &message, now);
    message
}

/// The pod doesn't start; told once. It goes on by itself when the node gets it to start.
pub(super) fn fail(turn: &mut Turn<'_>, message: &str) {
    let is_told = conditions::find(&turn.status.conditions, types::UPGRADING)
        .is_some_and(|condition| condition.reason == reasons::UPGRADE_POD_FAILED);
    hold(&mut turn.status, reasons::UPGRADE_POD_FAILED, message, turn.now);
    if !is_told {
        turn.decision.events.push(Announcement::warning(events::UPGRADE_POD_FAILED, message));
    }
}

/// `PreUpgrade`: the old pod is still there, with everything that it has.
fn before(turn: &mut Turn<'_>, pod: &Pod) {
    let has_ended = matches!(ready::pod_phase(pod), "Succeeded" | "Failed");
    if has_ended && preserve::is_wanted(turn.sandbox) {
        return finish(&mut turn.status, ready::pod_phase(pod), turn.now);
    }
    let hook = Hook::PreUpgrade;
    if has_ended || hook.action(turn.sandbox).is_none() || hook.follow(turn, pod) {
        begin_replacing(turn.sandbox, turn.now, &mut turn.status);
    }
}

/// The new pod is ready with its mounts: `PostUpgrade`, and the end.
fn finish_up(turn: &mut Turn<'_>, pod: &Pod) {
    let hook = Hook::PostUpgrade;
    if !hook.is_due(&turn.status) {
        let message = "The pod was replaced by one of the new template";
        turn.decision.events.push(Announcement::normal(events::UPGRADE_POD_REPLACED, message));
        if hook.action(turn.sandbox).is_some() {
            // written first: what was initialised is then remembered
            return hook.announce(turn.now, &mut turn.status);
        }
    }
    if hook.action(turn.sandbox).is_none() || hook.follow(turn, pod) {
        complete(turn, pod);
    }
}

fn complete(turn: &mut Turn<'_>, pod: &Pod) {
    turn.status.phase = SandboxPhase::Running;
    conditions::set(&mut turn.status.conditions, types::UPGRADING, true, reasons::SUCCEEDED, "", turn.now);
    ready::sync(&mut turn.status, pod, None, turn.now);
    turn.decision.events.push(Announcement::normal(events::UPGRADE_SUCCEEDED, "Sandbox was upgraded"));
}

/// What is told of a Sandbox that runs again.
pub(super) fn outcome(status: &SandboxStatus) -> &'static str {
    let told = conditions::find(&status.conditions, types::UPGRADING);
    if told.is_some_and(|told| told.status == "True") {
        "Sandbox was upgraded"
    } else if preserve::has_failed(&status.conditions) {
        "Sandbox runs on as it was, its files can't be kept for the upgrade"
    } else {
        "Sandbox runs again, its upgrade was taken back"
    }
}

/// `PreUpgrade` where there is such a hook, and what comes next where there is none.
pub(super) fn prepare(sandbox: &Sandbox, now: Timestamp, status: &mut SandboxStatus) {
    if Hook::PreUpgrade.action(sandbox).is_some() {
        Hook::PreUpgrade.announce(now, status);
    } else {
        begin_replacing(sandbox, now, status);
    }
}

/// `Checkpointing` where the files are to be kept, and the replacement at once where they aren't.
fn begin_replacing(sandbox: &Sandbox, now: Timestamp, status: &mut SandboxStatus) {
    if preserve::is_wanted(sandbox) {
        preserve::announce(now, status);
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

pub(super) fn hold(status: &mut SandboxStatus, reason: &str, message: &str, now: Timestamp) {
    conditions::set(&mut status.conditions, types::UPGRADING, false, reason, message, now);
    conditions::set(&mut status.conditions, types::READY, false, reasons::UPGRADING, message, now);
}
