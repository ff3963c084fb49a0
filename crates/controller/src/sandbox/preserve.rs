//! The files of an upgraded sandbox (`upgradePolicy.type: CheckpointRestore`, `kubernetes.md` §5.9,
//! `docs/design/0019-upgrades-with-a-checkpoint.md`), as pure functions.
//!
//! ```text
//! Checkpointing ─► a Checkpoint of the old pod, owned by the Sandbox ─► Succeeded: its id is the Sandbox's `restore-from` ─► UpgradePod
//!                                                                  └► Failed, or too late: CheckpointFailed, runs on as it was
//! ```
//! A Checkpoint that the API refuses ends the attempt as well (`CheckpointCreateFailed`): the node was never asked. While that is what the
//! Sandbox says, the API is asked now and then whether it would take one, which touches nothing, and the upgrade begins anew when it would.
//!
//! The Checkpoint is named after the old pod, which is replaced once, so a controller that starts anew finds the one of before. It stays
//! as long as the Sandbox is made from it: the container may restart, the sandbox wake up. One that nothing is made from goes.

use std::sync::Arc;
use std::time::Duration;

use contract::checkpoint::{self, phases};
use contract::conditions::{self, reasons, types};
use contract::crd::{Checkpoint, Sandbox, SandboxPhase, SandboxStatus, UpgradePolicyType};
use contract::names::annotations;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::decide::Action;
use super::turn::Turn;
use super::{of_generation, upgrade};

/// How long the checkpoint of an upgrade may take, from when it is there; its node has less.
const CHECKPOINT_LIMIT: Duration = Duration::from_mins(2);

/// How often the API is asked whether it still refuses the Checkpoint, at least.
const REFUSAL_INTERVAL: Duration = Duration::from_mins(1);

/// Letters of the pod's UID in the name of its Checkpoint.
const UID_LETTERS: usize = 8;

/// What is known of the Checkpoints of a Sandbox's upgrades.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Kept<'a> {
    /// Those that were made.
    pub all: &'a [Arc<Checkpoint>],
    /// What the API says, in this turn, to the one that is to be made.
    pub answer: Answer<'a>,
}

/// What the API says to a Checkpoint that is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It wasn't asked.
    #[default]
    None,
    /// It would take it.
    Accepted,
    /// It doesn't take it: why, and what to do.
    Refused(&'a str),
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something is under way.
    Waiting,
    /// The new pod will have the files.
    Kept,
    /// Nothing is kept, and why.
    Failed(String),
    /// The API takes no Checkpoint of the pod, and why.
    Refused(String),
}

/// Whether an upgrade of the Sandbox is to keep its files.
pub(super) fn is_wanted(sandbox: &Sandbox) -> bool {
    sandbox.spec.upgrade_policy.as_ref().and_then(|policy| policy.kind)
        == Some(UpgradePolicyType::CheckpointRestore)
}

/// Whether the upgrade is at it.
pub(super) fn is_due(status: &SandboxStatus) -> bool {
    conditions::find(&status.conditions, types::UPGRADING)
        .is_some_and(|condition| condition.reason == reasons::CHECKPOINTING)
}

/// Whether an upgrade has ended because files couldn't be kept, so that the pod isn't of the template.
pub(crate) fn has_failed(conditions: &[Condition]) -> bool {
    conditions::find(conditions, types::UPGRADING).is_some_and(|told| {
        let reasons = [reasons::CHECKPOINT_FAILED, reasons::CHECKPOINT_CREATE_FAILED];
        told.status == "False" && reasons.contains(&told.reason.as_str())
    })
}

/// The Checkpoint that the API refused for this generation of the Sandbox, which runs on with the pod of that UID.
pub(super) fn refused(sandbox: &Sandbox, pod: &str) -> Option<String> {
    let status = sandbox.status.as_ref()?;
    let is_refused = status.phase == SandboxPhase::Running
        && is_wanted(sandbox)
        && of_generation::has_reason(sandbox, status, types::UPGRADING, reasons::CHECKPOINT_CREATE_FAILED);
    is_refused.then(|| name(sandbox, pod))
}

/// Whether an upgrade that is wanted has to wait, since files couldn't be kept for this generation of the Sandbox.
pub(super) fn holds_back(turn: &mut Turn<'_>) -> bool {
    let told = |reason: &str| of_generation::has_reason(turn.sandbox, &turn.status, types::UPGRADING, reason);
    if told(reasons::CHECKPOINT_FAILED) {
        return true;
    }
    if !told(reasons::CHECKPOINT_CREATE_FAILED) || turn.given.kept.answer == Answer::Accepted {
        return false;
    }
    if let Answer::Refused(why) = turn.given.kept.answer {
        upgrade::note_unkept(
            turn.sandbox,
            reasons::CHECKPOINT_CREATE_FAILED,
            why,
            turn.now,
            &mut turn.status,
        );
    }
    turn.decision.wake_at = Some(clock::later(turn.now, REFUSAL_INTERVAL));
    true
}

/// Says that it is its turn, from now on.
pub(super) fn announce(now: Timestamp, status: &mut SandboxStatus) {
    let message = "the files of the old pod are to be kept for the new one";
    conditions::remove(&mut status.conditions, types::UPGRADING);
    upgrade::hold(status, reasons::CHECKPOINTING, message, now);
}

/// Whether there may be Checkpoints of upgrades of the Sandbox.
pub(crate) fn may_have(sandbox: &Sandbox) -> bool {
    let status = sandbox.status.as_ref();
    is_wanted(sandbox)
        || sandbox.annotations().contains_key(annotations::RESTORE_FROM)
        || status.is_some_and(|status| {
            status.recycled_count.is_some()
                || conditions::find(&status.conditions, types::UPGRADING).is_some()
        })
}

/// Keeps the files of the old pod of that UID.
pub(super) fn follow(turn: &mut Turn<'_>, (old, is_there): (&str, bool)) -> Step {
    let name = name(turn.sandbox, old);
    let Some(found) = turn.given.kept.all.iter().find(|it| it.name_any() == name) else {
        if !is_there {
            return Step::Failed("the pod has gone before its files were kept".to_owned());
        }
        if let Answer::Refused(why) = turn.given.kept.answer {
            return Step::Refused(why.to_owned());
        }
        return make(turn, name);
    };
    let id = checkpoint::id(found);
    if restores(turn.sandbox, &id) {
        return Step::Kept;
    }
    let since = found.metadata.deletion_timestamp.clone().or_else(|| found.creation_timestamp());
    let until = clock::later(since.map_or(turn.now, |since| since.0), CHECKPOINT_LIMIT);
    match checkpoint::phase(found) {
        _ if found.metadata.deletion_timestamp.is_some() => {
            let message = format!("an earlier Checkpoint {name} is on its way out");
            wait(turn, &name, &message, until)
        }
        phases::SUCCEEDED => {
            upgrade::hold(
                &mut turn.status,
                reasons::CHECKPOINTING,
                &format!("Checkpoint {name} has the files"),
                turn.now,
            );
            turn.decision.actions.push(Action::RestoreFrom { id });
            Step::Waiting
        }
        phases::FAILED => {
            let why = found.status.as_ref().and_then(|status| status.message.clone()).unwrap_or_default();
            Step::Failed(format!("Checkpoint {name} failed: {why}"))
        }
        _ => wait(turn, &name, &format!("Checkpoint {name} is being taken"), until),
    }
}

/// Has the Checkpoint made; an API that gives no answer has as long as a node.
fn make(turn: &mut Turn<'_>, name: String) -> Step {
    let told = conditions::find(&turn.status.conditions, types::UPGRADING);
    let since = told.map_or(turn.now, |told| told.last_transition_time.0);
    let last = told.map(|told| told.message.clone()).unwrap_or_default();
    let step = wait(turn, &name, &last, clock::later(since, CHECKPOINT_LIMIT));
    if step == Step::Waiting {
        upgrade::hold(
            &mut turn.status,
            reasons::CHECKPOINTING,
            &format!("Checkpoint {name} is made"),
            turn.now,
        );
        turn.decision.actions.push(Action::TakeCheckpoint { name });
    }
    step
}

/// Says why the Checkpoint isn't there yet. It is tried again.
pub(super) fn note_delay(name: &str, why: &str, now: Timestamp, status: &mut SandboxStatus) {
    upgrade::hold(status, reasons::CHECKPOINTING, &format!("Checkpoint {name} is made: {why}"), now);
}

fn wait(turn: &mut Turn<'_>, name: &str, message: &str, until: Timestamp) -> Step {
    if until <= turn.now {
        let seconds = CHECKPOINT_LIMIT.as_secs();
        return Step::Failed(format!(
            "Checkpoint {name} was not there within the limit of {seconds} s: {message}"
        ));
    }
    upgrade::hold(&mut turn.status, reasons::CHECKPOINTING, message, turn.now);
    turn.decision.wake_at = Some(until);
    Step::Waiting
}

/// What no upgrade needs any more goes. Only for a Sandbox that isn't being upgraded.
pub(super) fn tidy(turn: &mut Turn<'_>) {
    let needless = turn.given.kept.all.iter().filter(|it| {
        it.metadata.deletion_timestamp.is_none() && !restores(turn.sandbox, &checkpoint::id(it))
    });
    turn.decision.actions.extend(
        needless
            .map(|it| Action::DeleteCheckpoint { name: it.name_any(), uid: it.uid().unwrap_or_default() }),
    );
}

/// Whether the pods of the Sandbox are made from that Checkpoint.
fn restores(sandbox: &Sandbox, id: &str) -> bool {
    sandbox.annotations().get(annotations::RESTORE_FROM).is_some_and(|from| from == id)
}

fn name(sandbox: &Sandbox, old: &str) -> String {
    let letters: String = old.chars().filter(char::is_ascii_alphanumeric).take(UID_LETTERS).collect();
    format!("{}-{}", sandbox.name_any(), letters.to_ascii_lowercase())
}
