//! What was asked of the API and not seen in a watch yet (`kubernetes.md` §3.1, §3.2).
//!
//! Creations are counted, deletions are kept by UID. What isn't seen within a minute is given up: the event was lost.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// How long something unseen counts.
const LIMIT: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Expectations {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By UID of the set: creations and when the last was issued.
    creations: HashMap<String, (usize, Timestamp)>,
    /// By UID of the sandbox: its set and when the deletion was issued.
    deletions: HashMap<String, (String, Timestamp)>,
}

/// What is outstanding for one set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outstanding {
    /// Creations not seen yet.
    pub(crate) creations: usize,
    /// UIDs of sandboxes whose deletion was not seen yet.
    pub(crate) deletions: Vec<String>,
    /// When the oldest of them is given up.
    pub(crate) until: Option<Timestamp>,
}

impl Expectations {
    /// A creation for the set is about to be issued.
    pub(crate) fn expect_creation(&self, set: &str, now: Timestamp) {
        let mut state = self.lock();
        let (count, since) = state.creations.entry(set.to_owned()).or_insert((0, now));
        *count += 1;
        *since = now;
    }

    /// A sandbox of the set was seen for the first time, or its creation failed.
    pub(crate) fn created(&self, set: &str) {
        let mut state = self.lock();
        if let Some((count, _)) = state.creations.get_mut(set) {
            *count -= 1;
            if *count == 0 {
                state.creations.remove(set);
            }
        }
    }

    /// A deletion is about to be issued.
    pub(crate) fn expect_deletion(&self, set: &str, sandbox: &str, now: Timestamp) {
        self.lock().deletions.insert(sandbox.to_owned(), (set.to_owned(), now));
    }

    /// The sandbox is gone, going or no longer the set's, or its deletion failed.
    pub(crate) fn deleted(&self, sandbox: &str) {
        self.lock().deletions.remove(sandbox);
    }

    /// The set is gone.
    pub(crate) fn forget(&self, set: &str) {
        let mut state = self.lock();
        state.creations.remove(set);
        state.deletions.retain(|_, (owner, _)| owner != set);
    }

    /// What is outstanding for the set at `now`.
    pub(crate) fn of(&self, set: &str, now: Timestamp) -> Outstanding {
        let mut state = self.lock();
        let fresh = |since: &Timestamp| now.duration_since(*since) < LIMIT;
        state.creations.retain(|_, (_, since)| fresh(since));
        state.deletions.retain(|_, (_, since)| fresh(since));
        let creations = state.creations.get(set);
        let deletions: Vec<_> = state.deletions.iter().filter(|(_, (owner, _))| owner == set).collect();
        let times =
            creations.iter().map(|(_, since)| *since).chain(deletions.iter().map(|(_, (_, since))| *since));
        Outstanding {
            creations: creations.map_or(0, |(count, _)| *count),
            until: times.min().and_then(|since| since.checked_add(LIMIT).ok()),
            deletions: deletions.into_iter().map(|(uid, _)| uid.clone()).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    #[test]
    fn creations_are_ticked_off_one_by_one() {
        let expectations = Expectations::default();
        expectations.expect_creation("set", at(0));
        expectations.expect_creation("set", at(1));
        expectations.created("set");
        expectations.created("other");
        assert_eq!(expectations.of("set", at(2)).creations, 1);
        expectations.created("set");
        expectations.created("set");
        assert_eq!(expectations.of("set", at(2)), Outstanding::default());
    }

    #[test]
    fn deletions_belong_to_their_set() {
        let expectations = Expectations::default();
        expectations.expect_deletion("set", "one", at(0));
        expectations.expect_deletion("other", "two", at(0));
        assert_eq!(expectations.of("set", at(1)).deletions, ["one"]);
        expectations.deleted("one");
        assert_eq!(expectations.of("set", at(1)), Outstanding::default());
        expectations.forget("other");
        assert_eq!(expectations.of("other", at(1)), Outstanding::default());
    }

    #[test]
    fn what_is_not_seen_within_a_minute_is_given_up() {
        let expectations = Expectations::default();
        expectations.expect_creation("set", at(0));
        expectations.expect_deletion("set", "one", at(5));
        assert_eq!(expectations.of("set", at(59)).until, Some(at(60)));
        let later = expectations.of("set", at(60));
        assert_eq!((later.creations, later.deletions.len(), later.until), (0, 1, Some(at(65))));
        assert_eq!(expectations.of("set", at(65)), Outstanding::default());
    }
}
