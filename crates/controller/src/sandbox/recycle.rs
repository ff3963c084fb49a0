//! Back to the pool, or deleted (`kubernetes.md` §5.11, `docs/design/0018-recycling.md`), as pure functions.
//!
//! ```text
//! Running, both annotations ─► Recycling: unmounted ─► old pod deleted ─► cleared ─► new pod ready ─► grace ─► returned ─► Running
//!                          └─► rejected: runs on     any failure, or too late: deleted, or kept until its shutdownTime
//! ```
//! The pod is replaced: processes, files, memory and mounts of a pod end with it, whatever was done in it. What comes
//! back is the object. It has no owner and keeps its lock until the new pod has been ready for the grace period, and
//! isn't Ready before its set owns it, so no claim takes it early.
//!
//! Every step is known from the objects: the phase is written before the pod is touched, the UID of the pod that was
//! used and that it is unmounted are noted in the status, and a cleared Sandbox bears that UID as an annotation.

use std::time::Duration;

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxPhase, SandboxStatus};
use contract::duration;
use contract::names::{annotations, events, labels};
use contract::recycling::{cleared, is_wanted, rejection, returned};
use contract::state::owning_set;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::decide::{Action, own_pod};
use super::initialisation;
use super::turn::Turn;
use super::{ready, status as pod_status};
use crate::announce::Announcement;

/// How long recycling may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecyclingLimits {
    /// From its beginning until the new pod is ready, and from the end of the grace period until it is back. Default: 60 s.
    pub timeout: Duration,
    /// How long the new pod is ready before it can be claimed. Default: 10 s.
    pub grace: Duration,
}

impl Default for RecyclingLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), grace: Duration::from_secs(10) }
    }
}

/// What recycling one Sandbox depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Recycling {
    /// What its pool would make now, or why there is nothing that it could go back to.
    pub draft: Result<Box<Sandbox>, String>,
    /// How far unmounting has got in this process; nothing when it was not begun.
    pub unmounting: Option<Unmounting>,
    /// How long it may take.
    pub limits: RecyclingLimits,
}

/// How far unmounting has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmounting {
    /// At work.
    Running,
    /// Everything is unmounted.
    Succeeded,
    /// Something may be mounted still; the error, without secrets.
    Failed(String),
}

/// Begins recycling where it is wanted and possible; whether it did.
pub(super) fn begin(turn: &mut Turn<'_>, pod: Option<&Pod>) -> bool {
    if !is_wanted(turn.sandbox) {
        if has_reason(&turn.status, reasons::RECYCLING_REJECTED) {
            conditions::remove(&mut turn.status.conditions, types::RECYCLING);
        }
        return false;
    }
    // what becomes of it is the claim's to decide until it is handed out
    if initialisation::is_being_claimed(turn.sandbox) {
        return false;
    }
    if let Some(message) = rejection(turn.sandbox) {
        let reason = reasons::RECYCLING_REJECTED;
        if conditions::set(&mut turn.status.conditions, types::RECYCLING, false, reason, message, turn.now) {
            turn.decision.events.push(Announcement::warning(events::RECYCLING_REJECTED, message));
        }
        return false;
    }
    turn.status.phase = SandboxPhase::Recycling;
    enter(&mut turn.status, reasons::RECYCLING_STARTED, "", turn.now);
    conditions::set(
        &mut turn.status.conditions,
        types::READY,
        false,
        reasons::RECYCLING_STARTED,
        UNCLEAN,
        turn.now,
    );
    note(
        &mut turn.status,
        annotations::RECYCLED_POD,
        &pod.and_then(kube::ResourceExt::uid).unwrap_or_default(),
    );
    forget(&mut turn.status, annotations::RECYCLED_POD_UNMOUNTED);
    turn.decision.events.push(Announcement::normal(
        events::RECYCLING_STARTED,
        "Sandbox is cleaned for its pool: its storage is unmounted and its pod replaced",
    ));
    true
}

/// Why a sandbox that is recycled is not ready.
const UNCLEAN: &str = "the sandbox is being cleaned for its pool";

/// Phase Recycling.
pub(super) fn follow(turn: &mut Turn<'_>, pod: Option<&Pod>, recycling: &Recycling) {
    let Some(since) = since(&turn.status) else {
        // nobody but this controller writes the phase, so there is no telling what was cleaned
        return fail(turn, "the condition Recycling is missing");
    };
    if is_over(&turn.status) {
        return dispose(turn, since);
    }
    if owning_set(turn.sandbox).is_some() {
        return complete(turn, pod);
    }
    let draft = match &recycling.draft {
        Ok(draft) if is_of(turn.sandbox, draft) => draft,
        Ok(_) => {
            let message = "the sandbox is not of the revision that its pool has now";
            return fail(turn, message);
        }
        Err(message) => return fail(turn, message),
    };
    let RecyclingLimits { timeout, grace } = recycling.limits;
    let is_clean = has_reason(&turn.status, reasons::RECYCLING_COMPLETED);
    let due = clock::later(since, if is_clean { timeout + grace } else { timeout });
    if due <= turn.now {
        let step = if is_clean { "it was not back in its pool" } else { "its new pod was not ready" };
        let message = format!("{step} within {} s", timeout.as_secs());
        return fail_as(turn, reasons::RECYCLING_TIMEOUT, &message);
    }
    turn.decision.wake_at = Some(due);
    match current(turn, pod, draft, recycling) {
        Some(pod) if ready::is_ready(pod) && is_clean => {
            let end = clock::later(since, grace);
            if turn.now < end {
                turn.decision.wake_at = Some(end);
            } else {
                turn.decision.actions.push(Action::ReplaceSandbox(Box::new(returned(turn.sandbox, draft))));
            }
        }
        Some(pod) if ready::is_ready(pod) => {
            enter(&mut turn.status, reasons::RECYCLING_COMPLETED, "", turn.now);
            turn.decision.wake_at = Some(clock::later(turn.now, grace));
        }
        _ => {}
    }
}

/// The new pod, once the old one is undone and the Sandbox is cleared; brings both about.
fn current<'a>(
    turn: &mut Turn<'_>,
    pod: Option<&'a Pod>,
    draft: &Sandbox,
    recycling: &Recycling,
) -> Option<&'a Pod> {
    let used = noted(&turn.status, annotations::RECYCLED_POD).unwrap_or_default().to_owned();
    let is_unmounted = noted(&turn.status, annotations::RECYCLED_POD_UNMOUNTED).is_some();
    let is_cleared = turn.sandbox.annotations().get(annotations::RECYCLED_POD) == Some(&used);
    match pod.filter(|pod| pod.uid().as_deref() == Some(&used)) {
        Some(old) if is_unmounted => {
            if old.metadata.deletion_timestamp.is_none() {
                turn.decision.actions.push(Action::StopPod { uid: used });
            }
            return None;
        }
        Some(old) if old.metadata.deletion_timestamp.is_none() => {
            unmount(turn, &used, recycling);
            return None;
        }
        _ => {}
    }
    if !is_unmounted {
        // whoever took it away did not ask whether what was written to its mounts had arrived
        let message = "its pod went before its storage was unmounted";
        fail(turn, message);
        return None;
    }
    if !is_cleared {
        turn.decision.actions.push(Action::ClearSandbox(Box::new(cleared(turn.sandbox, draft, &used))));
        return None;
    }
    let pod = own_pod(turn, pod)?;
    if let phase @ ("Succeeded" | "Failed") = ready::pod_phase(pod) {
        fail(turn, &format!("its new pod has ended: {phase}"));
        return None;
    }
    pod_status::copy_pod(&mut turn.status, pod);
    Some(pod)
}

fn unmount(turn: &mut Turn<'_>, pod: &str, recycling: &Recycling) {
    match &recycling.unmounting {
        None => turn.decision.actions.push(Action::Unmount { pod: pod.to_owned() }),
        Some(Unmounting::Running) => {}
        // noted first, so that a controller that starts anew knows it
        Some(Unmounting::Succeeded) => note(&mut turn.status, annotations::RECYCLED_POD_UNMOUNTED, "true"),
        Some(Unmounting::Failed(message)) => fail(turn, message),
    }
}

/// The set owns it again.
fn complete(turn: &mut Turn<'_>, pod: Option<&Pod>) {
    let count = turn.status.recycled_count.unwrap_or(0).saturating_add(1);
    turn.status.phase = SandboxPhase::Running;
    turn.status.recycled_count = Some(count);
    for kind in [
        types::SANDBOX_PAUSED,
        types::SANDBOX_RESUMED,
        types::RUNTIME_INITIALIZED,
        types::INPLACE_UPDATE,
        types::UPGRADING,
    ] {
        conditions::remove(&mut turn.status.conditions, kind);
    }
    conditions::set(
        &mut turn.status.conditions,
        types::RECYCLING,
        true,
        reasons::RECYCLING_SUCCEEDED,
        "",
        turn.now,
    );
    // the next claim's containers are as new as those of a new sandbox
    if let Some(info) = &mut turn.status.pod_info {
        info.annotations = None;
    }
    if let Some(pod) = pod {
        pod_status::copy_pod(&mut turn.status, pod);
        ready::sync(&mut turn.status, pod, None, turn.now);
        initialisation::remember_first(pod, &mut turn.status);
    }
    let message = format!("Sandbox is back in its pool, recycled {count} times so far");
    turn.decision.events.push(Announcement::normal(events::RECYCLING_SUCCEEDED, message));
}

fn fail(turn: &mut Turn<'_>, message: &str) {
    fail_as(turn, reasons::RECYCLING_FAILED, message);
}

fn fail_as(turn: &mut Turn<'_>, reason: &str, message: &str) {
    let end = if retention(turn.sandbox).is_some() { "it is kept for a while" } else { "it is deleted" };
    let message = format!("the sandbox does not go back to its pool, {end}: {message}");
    enter(&mut turn.status, reason, &message, turn.now);
    turn.decision.events.push(Announcement::warning(reason, message));
    dispose(turn, turn.now);
}

/// What happens to a sandbox whose recycling failed at `since`.
fn dispose(turn: &mut Turn<'_>, since: Timestamp) {
    turn.decision.wake_at = None;
    let Some(retention) = retention(turn.sandbox) else {
        turn.decision.actions.push(Action::DeleteSandbox);
        return;
    };
    let until = clock::later(since, retention);
    let known = turn.sandbox.spec.shutdown_time.as_ref().map(|time| time.0.as_second());
    if known != Some(until.as_second()) {
        turn.decision.actions.push(Action::KeepUntil(until));
    }
    if until > turn.now {
        turn.decision.wake_at = Some(until);
    }
}

/// How long a sandbox is kept whose recycling failed; nothing for one that is deleted.
fn retention(sandbox: &Sandbox) -> Option<Duration> {
    let text = sandbox.annotations().get(annotations::CLEANUP_RETAIN_ON_FAILURE)?;
    let parsed = duration::parse(text).and_then(|duration| Duration::try_from(duration).ok());
    parsed.filter(|duration| !duration.is_zero())
}

/// Whether the recycling of a Sandbox in that status has failed.
pub(super) fn is_over(status: &SandboxStatus) -> bool {
    has_reason(status, reasons::RECYCLING_FAILED) || has_reason(status, reasons::RECYCLING_TIMEOUT)
}

/// Whether what is to be done with the Sandbox depends on its pool.
pub(crate) fn depends_on_pool(sandbox: &Sandbox) -> bool {
    match sandbox.status.as_ref().map(|status| &status.phase) {
        Some(SandboxPhase::Recycling) => true,
        Some(SandboxPhase::Running) => is_wanted(sandbox),
        _ => false,
    }
}

fn is_of(sandbox: &Sandbox, draft: &Sandbox) -> bool {
    let revision = sandbox.labels().get(labels::TEMPLATE_HASH);
    revision.is_some() && revision == draft.labels().get(labels::TEMPLATE_HASH)
}

fn has_reason(status: &SandboxStatus, reason: &str) -> bool {
    conditions::find(&status.conditions, types::RECYCLING).is_some_and(|found| found.reason == reason)
}

fn since(status: &SandboxStatus) -> Option<Timestamp> {
    conditions::find(&status.conditions, types::RECYCLING).map(|found| found.last_transition_time.0)
}

/// The next step begins now, whatever the condition said before.
fn enter(status: &mut SandboxStatus, reason: &str, message: &str, now: Timestamp) {
    conditions::remove(&mut status.conditions, types::RECYCLING);
    conditions::set(&mut status.conditions, types::RECYCLING, false, reason, message, now);
}

fn noted<'a>(status: &'a SandboxStatus, key: &str) -> Option<&'a str> {
    status.pod_info.as_ref()?.annotations.as_ref()?.get(key).map(String::as_str)
}

fn note(status: &mut SandboxStatus, key: &str, value: &str) {
    let notes = status.pod_info.get_or_insert_default().annotations.get_or_insert_default();
    notes.insert(key.to_owned(), value.to_owned());
}

fn forget(status: &mut SandboxStatus, key: &str) {
    if let Some(notes) = status.pod_info.as_mut().and_then(|info| info.annotations.as_mut()) {
        notes.remove(key);
    }
}
