//! How long creations, pauses and wake-ups take, from the changes of a Sandbox alone.

use std::collections::HashMap;

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxPhase};
use contract::state::{is_ready, owning_set};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use crate::queue::ObjectName;

/// Something that a sandbox does and that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// From when it is there until it is ready.
    Creation,
    /// From phase Paused until its pod is gone, or kept asleep.
    Pause,
    /// From phase Resuming until it is ready.
    Resume,
    /// From phase Recycling until it is back in its pool.
    Recycle,
    /// From when an in-place update is announced until it is done, beside any of the others.
    Update,
    /// From when it is told to go until it is gone.
    Deletion,
}

/// An operation that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) operation: Operation,
    pub(super) succeeded: bool,
    pub(super) took: SignedDuration,
}

/// The operations that are under way, by UID of the sandbox.
#[derive(Debug, Default)]
pub(super) struct Progress {
    running: HashMap<String, (Operation, Timestamp)>,
    updates: HashMap<String, Timestamp>,
}

impl Progress {
    /// Takes in a change of a sandbox, seen at `now`. What was under way when it was told to go has neither succeeded
    /// nor failed.
    pub(super) fn see(
        &mut self,
        old: Option<&Sandbox>,
        new: Option<&Sandbox>,
        now: Timestamp,
    ) -> Vec<Finished> {
        let Some(uid) = new.or(old).and_then(kube::ResourceExt::uid) else { return Vec::new() };
        let Some(new) = new else {
            self.updates.remove(&uid);
            let running = self.running.remove(&uid);
            return old.and_then(|old| deleted(old, running, now)).into_iter().collect();
        };
        let update = self.see_update(&uid, old, new, now);
        if let Some(operation) = begun(old, new) {
            self.running.insert(uid.clone(), (operation, now));
        }
        let ended = self.running.get(&uid).copied().and_then(|(operation, since)| {
            let succeeded = outcome(operation, new)?;
            Some(Finished { operation, succeeded, took: now.duration_since(since) })
        });
        if ended.is_some() {
            self.running.remove(&uid);
        }
        update.into_iter().chain(ended).collect()
    }

    /// An update that fails or is taken back has no end.
    fn see_update(
        &mut self,
        uid: &str,
        old: Option<&Sandbox>,
        new: &Sandbox,
        now: Timestamp,
    ) -> Option<Finished> {
        let update = |sandbox: &Sandbox| {
            let status = sandbox.status.as_ref()?;
            let condition = conditions::find(&status.conditions, types::INPLACE_UPDATE)?;
            Some((condition.status == "True", condition.reason == reasons::INPLACE_UPDATING))
        };
        match update(new) {
            Some((false, true)) => {
                let is_new = old.is_some_and(|old| update(old) != Some((false, true)));
                if is_new {
                    self.updates.insert(uid.to_owned(), now);
                }
                None
            }
            told => {
                let since = self.updates.remove(uid)?;
                let is_done = told.is_some_and(|(is_true, _)| is_true);
                let took = now.duration_since(since);
                is_done.then_some(Finished { operation: Operation::Update, succeeded: true, took })
            }
        }
    }
}

/// The end of a sandbox: at once, where nothing held it. One that was on its way before this controller was says nothing.
fn deleted(old: &Sandbox, running: Option<(Operation, Timestamp)>, now: Timestamp) -> Option<Finished> {
    let since = match running {
        Some((Operation::Deletion, since)) => since,
        _ if old.metadata.deletion_timestamp.is_none() => now,
        _ => return None,
    };
    Some(Finished { operation: Operation::Deletion, succeeded: true, took: now.duration_since(since) })
}

fn begun(old: Option<&Sandbox>, new: &Sandbox) -> Option<Operation> {
    if new.metadata.deletion_timestamp.is_some() {
        let is_new = old.is_some_and(|old| old.metadata.deletion_timestamp.is_none());
        return is_new.then_some(Operation::Deletion);
    }
    match (old.map(phase), phase(new)) {
        (None, SandboxPhase::None) => Some(Operation::Creation),
        (Some(before), now) if before == now => None,
        (Some(_), SandboxPhase::Paused) => Some(Operation::Pause),
        (Some(_), SandboxPhase::Resuming) => Some(Operation::Resume),
        (Some(_), SandboxPhase::Recycling) => Some(Operation::Recycle),
        _ => None,
    }
}

/// Whether it has succeeded; nothing while it hasn't ended.
fn outcome(operation: Operation, sandbox: &Sandbox) -> Option<bool> {
    let is_paused = || {
        let status = sandbox.status.as_ref();
        status.is_some_and(|status| conditions::is_true(&status.conditions, types::SANDBOX_PAUSED))
    };
    match (operation, phase(sandbox)) {
        (Operation::Deletion, _) => None,
        (_, SandboxPhase::Failed | SandboxPhase::Succeeded) => Some(false),
        (Operation::Creation | Operation::Resume, SandboxPhase::Running) if is_ready(sandbox) => Some(true),
        (Operation::Recycle, SandboxPhase::Running) => Some(true),
        (Operation::Recycle, SandboxPhase::Recycling) => recycling_failed(sandbox).then_some(false),
        (Operation::Pause, SandboxPhase::Paused) if is_paused() => Some(true),
        _ => None,
    }
}

fn recycling_failed(sandbox: &Sandbox) -> bool {
    let status = sandbox.status.as_ref();
    let condition = status.and_then(|status| conditions::find(&status.conditions, types::RECYCLING));
    condition.is_some_and(|it| {
        [reasons::RECYCLING_FAILED, reasons::RECYCLING_TIMEOUT].contains(&it.reason.as_str())
    })
}

fn phase(sandbox: &Sandbox) -> SandboxPhase {
    sandbox.status.as_ref().map(|status| status.phase.clone()).unwrap_or_default()
}

/// What a change means for a set's pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// The set has one more.
    Joined(ObjectName),
    /// Somebody took one.
    Claimed(ObjectName),
}

/// What a change means for a pool, if anything; that a controller sees a sandbox for the first time means nothing when
/// it was there before.
pub(super) fn membership(old: Option<&Sandbox>, new: Option<&Sandbox>) -> Option<Membership> {
    let new = new?;
    let set = |sandbox: &Sandbox| {
        let owner = owning_set(sandbox)?;
        Some(ObjectName { namespace: sandbox.namespace()?, name: owner.name.clone() })
    };
    match old {
        None if phase(new) == SandboxPhase::None => set(new).map(Membership::Joined),
        Some(old) if owning_set(new).is_none() && new.metadata.deletion_timestamp.is_none() => {
            set(old).map(Membership::Claimed)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    /// `new`, `pending`, `unready`, `ready`, `pausing`, `paused`, `resuming`, `failed`, `updating`, `updated`, `stuck`, `going`;
    /// a `+` at the end: owned by a set.
    fn sandbox(word: &str) -> Option<Sandbox> {
        let of = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": at(0).to_string()});
        let condition = |kind: &str, status: &str| json!([of(kind, status, "R")]);
        let update = |status: &str, reason: &str| {
            let ready = of("Ready", if reason == "Succeeded" { "True" } else { "False" }, "R");
            json!({"phase": "Running", "conditions": [ready, of("InplaceUpdate", status, reason)]})
        };
        let status = match word.trim_end_matches('+') {
            "gone" => return None,
            "new" => Value::Null,
            "pending" => json!({"phase": "Pending"}),
            "unready" => json!({"phase": "Running", "conditions": condition("Ready", "False")}),
            "ready" => json!({"phase": "Running", "conditions": condition("Ready", "True")}),
            "pausing" => json!({"phase": "Paused", "conditions": condition("SandboxPaused", "False")}),
            "paused" => json!({"phase": "Paused", "conditions": condition("SandboxPaused", "True")}),
            "resuming" => json!({"phase": "Resuming", "conditions": condition("SandboxPaused", "True")}),
            "failed" => json!({"phase": "Failed"}),
            "updating" => update("False", reasons::INPLACE_UPDATING),
            "updated" => update("True", reasons::SUCCEEDED),
            "stuck" => update("False", reasons::FAILED),
            "going" => json!({"phase": "Terminating"}),
            other => panic!("no state {other}"),
        };
        let owner = json!([
            {"apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxSet", "name": "pool", "uid": "s", "controller": true},
        ]);
        let owners = if word.ends_with('+') { owner } else { json!([]) };
        let sandbox = json!({
            "apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox", "spec": {}, "status": status,
            "metadata": {"name": "one", "namespace": "default", "uid": "u", "ownerReferences": owners,
                "deletionTimestamp": (word == "going").then(|| at(0).to_string())},
        });
        Some(serde_json::from_value(sandbox).expect("a sandbox"))
    }

    /// One state a second; what has ended by then, as (operation, succeeded, seconds).
    fn walked(states: &[&str]) -> Vec<(Operation, bool, i64)> {
        let mut progress = Progress::default();
        let mut old = None;
        let mut all = Vec::new();
        for (second, word) in states.iter().enumerate() {
            let new = sandbox(word);
            let now = at(i64::try_from(second).expect("a small number"));
            let finished = progress.see(old.as_ref(), new.as_ref(), now);
            all.extend(finished.into_iter().map(|it| (it.operation, it.succeeded, it.took.as_secs())));
            old = new;
        }
        assert!(progress.running.len() <= 1 && progress.updates.len() <= 1);
        if old.is_none() {
            assert!(progress.running.is_empty() && progress.updates.is_empty(), "what is gone is forgotten");
        }
        all
    }

    #[rstest]
    #[case::creation(&["new", "pending", "unready", "ready"], &[(Operation::Creation, true, 3)])]
    #[case::once(&["new", "ready", "unready", "ready"], &[(Operation::Creation, true, 1)])]
    #[case::failed(&["new", "pending", "failed"], &[(Operation::Creation, false, 2)])]
    #[case::deleted_on_the_way(&["new", "pending", "gone"], &[(Operation::Deletion, true, 0)])]
    #[case::deletion(&["new", "pending", "going", "going", "gone"], &[(Operation::Deletion, true, 2)])]
    #[case::found_going(&["going", "gone"], &[])]
    #[case::update(&["paused", "updating", "updating", "updated", "ready"], &[(Operation::Update, true, 2)])]
    #[case::updates(&["ready", "updating", "updated", "updating", "updated"], &[(Operation::Update, true, 1), (Operation::Update, true, 1)])]
    #[case::update_failed(&["ready", "updating", "stuck", "updated"], &[])]
    #[case::update_taken_back(&["ready", "updating", "ready", "updated"], &[])]
    #[case::update_found(&["updating", "updated"], &[])]
    #[case::updated_for_a_claim(&["new", "updating", "updated"], &[(Operation::Update, true, 1), (Operation::Creation, true, 2)])]
    #[case::deleted_in_an_update(&["ready", "updating", "gone"], &[(Operation::Deletion, true, 0)])]
    #[case::found_at_the_start(&["pending", "ready"], &[])]
    #[case::found_paused(&["paused", "paused"], &[])]
    #[case::life(
        &["new", "ready", "pausing", "pausing", "paused", "resuming", "unready", "ready"],
        &[(Operation::Creation, true, 1), (Operation::Pause, true, 2), (Operation::Resume, true, 2)]
    )]
    #[case::failed_wake_up(&["paused", "resuming", "failed"], &[(Operation::Resume, false, 1)])]
    fn operations(#[case] states: &[&str], #[case] expected: &[(Operation, bool, i64)]) {
        assert_eq!(walked(states), expected);
    }

    #[rstest]
    #[case::made("gone", "new+", Some(Membership::Joined(pool())))]
    #[case::found("gone", "ready+", None)]
    #[case::grown("new+", "ready+", None)]
    #[case::claimed("ready+", "ready", Some(Membership::Claimed(pool())))]
    #[case::made_for_a_claim("gone", "new", None)]
    #[case::ended("ready+", "gone", None)]
    fn pools(#[case] old: &str, #[case] new: &str, #[case] expected: Option<Membership>) {
        assert_eq!(membership(sandbox(old).as_ref(), sandbox(new).as_ref()), expected);
    }

    fn pool() -> ObjectName {
        ObjectName { namespace: "default".to_owned(), name: "pool".to_owned() }
    }
}
