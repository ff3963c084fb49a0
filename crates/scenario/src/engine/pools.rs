//! What happened to warm pools, from the watch events in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contract::names::SCALE_DOWN_OWNER;
use journal::{Entry, Journal, source};
use serde_json::Value;
use tokio::time::Instant;

use super::failure::{Failure, line};
use super::judge::Judgement;
use crate::matching::Difference;
use crate::model::PoolExpectation;

const POOL_LABEL: &str = "/metadata/labels/agents.kruise.io~1sandbox-pool";
const CLAIMED_LABEL: &str = "/metadata/labels/agents.kruise.io~1sandbox-claimed";
const LOCK_ANNOTATION: &str = "/metadata/annotations/agents.kruise.io~1lock";
const OWNER_ANNOTATION: &str = "/metadata/annotations/agents.kruise.io~1owner";

/// What a pool went through in a stretch of the journal.
#[derive(Debug, Default)]
struct History {
    /// Sandboxes of the set that were ever seen.
    members: BTreeSet<String>,
    /// Of the stretch: what was done to members, in order.
    changes: Vec<String>,
    /// Of the stretch: who was claimed.
    claimed: BTreeSet<String>,
    /// Who is deleted.
    deleted: BTreeSet<String>,
}

fn history(entries: &[impl AsRef<Entry>], expectation: &PoolExpectation, from: u64, to: u64) -> History {
    let prefix = format!("Sandbox/{}/", expectation.namespace);
    let mut history = History::default();
    let mut was_claimed: BTreeMap<String, bool> = BTreeMap::new();
    let Some(first) = entries.first().map(AsRef::as_ref) else { return history };
    for entry in entries.iter().map(AsRef::as_ref) {
        let Some(name) = entry.subject.strip_prefix(&prefix).filter(|_| entry.source == source::KUBERNETES)
        else {
            continue;
        };
        if text(entry, POOL_LABEL) == Some(expectation.set.as_str()) {
            history.members.insert(name.to_owned());
        }
        if !history.members.contains(name) {
            continue;
        }
        let claimed = is_claimed(entry);
        let claimed_now = claimed && !was_claimed.insert(name.to_owned(), claimed).unwrap_or(false);
        let in_stretch = (from..to).contains(&entry.sequence);
        match entry.kind.as_str() {
            "DELETED" => {
                history.deleted.insert(name.to_owned());
                if in_stretch {
                    history.changes.push(line(entry, first));
                }
            }
            "ADDED" if in_stretch => history.changes.push(line(entry, first)),
            _ => {}
        }
        if claimed_now && in_stretch {
            history.claimed.insert(name.to_owned());
            history.changes.push(format!("{} (claimed)", line(entry, first)));
        }
    }
    history
}

fn text<'a>(entry: &'a Entry, pointer: &str) -> Option<&'a str> {
    entry.body.pointer(pointer).and_then(Value::as_str)
}

/// Somebody has it, or is about to: a lock of the set's own, before it takes a sandbox away, is none.
fn is_claimed(entry: &Entry) -> bool {
    let is_locked = text(entry, LOCK_ANNOTATION).is_some_and(|lock| !lock.is_empty());
    text(entry, CLAIMED_LABEL) == Some("true")
        || (is_locked && text(entry, OWNER_ANNOTATION) != Some(SCALE_DOWN_OWNER))
}

/// The pool's history from `from` on, once as many sandboxes were claimed as are wanted; after `limit`, as it is then.
async fn await_claims(
    journal: &Journal,
    expectation: &PoolExpectation,
    from: u64,
    limit: Duration,
) -> History {
    let mut length = journal.len() as u64;
    let mut follower = journal.follow(length);
    let wanted = expectation.consumed.unwrap_or_default();
    let deadline = Instant::now() + limit;
    loop {
        let seen = history(&journal.entries(), expectation, from, length);
        if seen.claimed.len() as u64 >= wanted {
            return seen;
        }
        let Ok(entry) = tokio::time::timeout_at(deadline, follower.next()).await else { return seen };
        length = entry.sequence + 1;
    }
}

/// Judges one pool by the entries from `from` up to the last there is, waiting for claims and deletions within `limit`.
pub(super) async fn judge(
    journal: &Journal,
    expectation: &PoolExpectation,
    from: u64,
    limit: Duration,
    part: &str,
    place: &str,
) -> Judgement {
    let seen = await_claims(journal, expectation, from, limit).await;
    let fail = |words: String| Failure { entries: seen.changes.clone(), ..Failure::new(part, place, words) };
    if seen.members.is_empty() {
        let words = format!(
            "the journal knows no sandbox of SandboxSet {}/{}, so nothing can be said of its pool",
            expectation.namespace, expectation.set
        );
        return Err(fail(words).into());
    }
    if expectation.untouched == Some(true) && !seen.changes.is_empty() {
        return Err(fail(format!(
            "the pool of {} was touched {} times",
            expectation.set,
            seen.changes.len()
        ))
        .into());
    }
    if let Some(wanted) = expectation.consumed.filter(|wanted| *wanted != seen.claimed.len() as u64) {
        let mut failure = fail(format!("the pool of {} lost the wrong number of sandboxes", expectation.set));
        failure.differences.push(Difference {
            path: "consumed".into(),
            expected: wanted.to_string(),
            actual: format!("{} {:?}", seen.claimed.len(), seen.claimed),
        });
        return Err(failure.into());
    }
    if expectation.deleted == Some(true) {
        return await_deletions(journal, expectation, &seen.claimed, limit, &fail).await;
    }
    Ok(())
}

async fn await_deletions(
    journal: &Journal,
    expectation: &PoolExpectation,
    claimed: &BTreeSet<String>,
    limit: Duration,
    fail: &dyn Fn(String) -> Failure,
) -> Judgement {
    let mut left = claimed.clone();
    let mut follower = journal.follow(0);
    let waiting = async {
        while !left.is_empty() {
            let entry = follower.next().await;
            if entry.source == source::KUBERNETES && entry.kind == "DELETED" {
                let prefix = format!("Sandbox/{}/", expectation.namespace);
                if let Some(name) = entry.subject.strip_prefix(&prefix) {
                    left.remove(name);
                }
            }
        }
    };
    if tokio::time::timeout(limit, waiting).await.is_ok() {
        return Ok(());
    }
    Err(fail(format!(
        "claimed sandboxes of {} were not deleted within the limit `eventually` of {limit:?}; left: {left:?}",
        expectation.set
    ))
    .into())
}
