//! The files of an upgraded sandbox (`upgradePolicy.type: CheckpointRestore`, `kubernetes.md` §5.9,
//! `docs/design/0019-upgrades-with-a-checkpoint.md`), as pure functions.
//!
//! ```text
//! Checkpointing ─► a Checkpoint of the old pod, owned by the Sandbox ─► Succeeded: its id is the Sandbox's `restore-from` ─► UpgradePod
//!                                                                  └► Failed, or too late: CheckpointFailed, runs on as it was
//! ```
//! The Checkpoint is named after the old pod, which is replaced once, so a controller that starts anew finds the one of before. It stays
//! as long as the Sandbox is made from it: the container may restart, the sandbox wake up. One that nothing is made from goes.

use std::sync::Arc;
use std::time::Duration;

use contract::checkpoint::{self, phases};
use contract::conditions::{self, reasons, types};
use contract::crd::{Checkpoint, Sandbox, SandboxStatus, UpgradePolicyType};
use contract::names::annotations;
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::decide::{Action, Decision};
use super::upgrade;

/// How long the checkpoint of an upgrade may take, from when it is there; its node has less.
const CHECKPOINT_LIMIT: Duration = Duration::from_mins(2);

/// Letters of the pod's UID in the name of its Checkpoint.
const UID_LETTERS: usize = 8;

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something is under way.
    Waiting,
    /// The new pod will have the files.
    Kept,
    /// Nothing is kept, and why.
    Failed(String),
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

/// Says that it is its turn.
pub(super) fn announce(now: Timestamp, status: &mut SandboxStatus) {
    let message = "the files of the old pod are to be kept for the new one";
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

/// Keeps the files of the old pod of that UID. `kept` are the Checkpoints of upgrades of the Sandbox.
pub(super) fn follow(
    sandbox: &Sandbox,
    (old, is_there): (&str, bool),
    kept: &[Arc<Checkpoint>],
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) -> Step {
    let name = name(sandbox, old);
    let Some(found) = kept.iter().find(|it| it.name_any() == name) else {
        if !is_there {
            return Step::Failed("the pod has gone before its files were kept".to_owned());
        }
        upgrade::hold(status, reasons::CHECKPOINTING, &format!("Checkpoint {name} is made"), now);
        decision.actions.push(Action::TakeCheckpoint { name });
        return Step::Waiting;
    };
    let id = checkpoint::id(found);
    if restores(sandbox, &id) {
        return Step::Kept;
    }
    let since = found.metadata.deletion_timestamp.clone().or_else(|| found.creation_timestamp());
    let until = clock::later(since.map_or(now, |since| since.0), CHECKPOINT_LIMIT);
    match checkpoint::phase(found) {
        _ if found.metadata.deletion_timestamp.is_some() => {
            let message = format!("an earlier Checkpoint {name} is on its way out");
            wait(&name, &message, until, now, status, decision)
        }
        phases::SUCCEEDED => {
            upgrade::hold(status, reasons::CHECKPOINTING, &format!("Checkpoint {name} has the files"), now);
            decision.actions.push(Action::RestoreFrom { id });
            Step::Waiting
        }
        phases::FAILED => {
            let why = found.status.as_ref().and_then(|status| status.message.clone()).unwrap_or_default();
            Step::Failed(format!("Checkpoint {name} failed: {why}"))
        }
        _ => wait(&name, &format!("Checkpoint {name} is being taken"), until, now, status, decision),
    }
}

fn wait(
    name: &str,
    message: &str,
    until: Timestamp,
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) -> Step {
    if until <= now {
        let seconds = CHECKPOINT_LIMIT.as_secs();
        return Step::Failed(format!(
            "Checkpoint {name} was not there within the limit of {seconds} s: {message}"
        ));
    }
    upgrade::hold(status, reasons::CHECKPOINTING, message, now);
    decision.wake_at = Some(until);
    Step::Waiting
}

/// What no upgrade needs any more goes. Only for a Sandbox that isn't being upgraded.
pub(super) fn tidy(sandbox: &Sandbox, kept: &[Arc<Checkpoint>], decision: &mut Decision) {
    let needless = kept
        .iter()
        .filter(|it| it.metadata.deletion_timestamp.is_none() && !restores(sandbox, &checkpoint::id(it)));
    decision.actions.extend(
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
