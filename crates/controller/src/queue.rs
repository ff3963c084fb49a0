//! The work queue: keys that need a turn, now or at a time of the injected clock.
//!
//! A key is handed out once at a time. Pushing it while it is worked on gives it one more turn afterwards; pushing it
//! while it waits for a later time brings that forward.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// One thing to reconcile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    Set(ObjectName),
    Sandbox(ObjectName),
    Claim(ObjectName),
    Checkpoint(ObjectName),
    Operation(ObjectName),
}

/// First delay of a retry; doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(10);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Key>,
    waiting: HashSet<Key>,
    working: HashSet<Key>,
    again: HashSet<Key>,
    times: HashMap<Key, Timestamp>,
    timeline: BTreeSet<(Timestamp, Key)>,
    failures: HashMap<Key, u32>,
}

impl Queue {
    /// Gives `key` a turn as soon as possible.
    pub(crate) fn push(&self, key: Key) {
        self.lock().push(key);
        self.changed.notify_one();
    }

    /// Gives every key that failed and waits for its retry a turn now.
    pub(crate) fn push_failed(&self) {
        let mut state = self.lock();
        let failed: Vec<Key> = state.failures.keys().cloned().collect();
        for key in failed {
            state.push(key);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The next key whose turn it is, and when the next one becomes due otherwise.
    pub(crate) fn take(&self, now: Timestamp) -> Result<Key, Option<Timestamp>> {
        let mut state = self.lock();
        state.promote(now);
        match state.ready.pop_front() {
            Some(key) => {
                state.waiting.remove(&key);
                state.working.insert(key.clone());
                Ok(key)
            }
            None => Err(state.timeline.first().map(|(time, _)| *time)),
        }
    }

    /// Completes when something was pushed or finished since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends the turn of `key`, which went well; it gets another one at `next`, if given.
    pub(crate) fn done(&self, key: Key, next: Option<Timestamp>) {
        let mut state = self.lock();
        state.failures.remove(&key);
        state.finish(key, next);
        drop(state);
        self.changed.notify_one();
    }

    /// Ends the turn of `key`, which failed; it is retried after a delay that doubles with every failure. Returns the
    /// delay.
    pub(crate) fn failed(&self, key: Key, now: Timestamp) -> Duration {
        let mut state = self.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        let delay = FIRST_RETRY.saturating_mul(1 << (*failures).min(16)).min(LONGEST_RETRY);
        *failures += 1;
        state.finish(key, Some(clock::later(now, delay)));
        drop(state);
        self.changed.notify_one();
        delay
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, key: Key) {
        self.unschedule(&key);
        if self.working.contains(&key) {
            self.again.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn promote(&mut self, now: Timestamp) {
        while let Some((time, key)) = self.timeline.first().cloned() {
            if time > now {
                return;
            }
            self.push(key);
        }
    }

    fn finish(&mut self, key: Key, next: Option<Timestamp>) {
        self.working.remove(&key);
        if self.again.remove(&key) {
            return self.push(key);
        }
        self.unschedule(&key);
        if let Some(time) = next {
            self.timeline.insert((time, key.clone()));
            self.times.insert(key, time);
        }
    }

    fn unschedule(&mut self, key: &Key) {
        if let Some(time) = self.times.remove(key) {
            self.timeline.remove(&(time, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::Sandbox(ObjectName { namespace: "default".to_owned(), name: name.to_owned() })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    #[test]
    fn a_key_is_handed_out_once_however_often_it_is_pushed() {
        let queue = Queue::default();
        queue.push(key("a"));
        queue.push(key("a"));
        assert_eq!(queue.take(at(0)), Ok(key("a")));
        assert_eq!(queue.take(at(0)), Err(None));
    }

    #[test]
    fn a_push_during_the_turn_gives_one_more_turn() {
        let queue = Queue::default();
        queue.push(key("a"));
        let taken = queue.take(at(0)).expect("it is due");
        queue.push(key("a"));
        assert_eq!(queue.take(at(0)), Err(None), "not while it is worked on");
        queue.done(taken, None);
        assert_eq!(queue.take(at(0)), Ok(key("a")));
    }

    #[test]
    fn a_deadline_is_due_at_its_time_and_not_before() {
        let queue = Queue::default();
        queue.push(key("a"));
        let taken = queue.take(at(0)).expect("it is due");
        queue.done(taken, Some(at(300)));
        assert_eq!(queue.take(at(299)), Err(Some(at(300))));
        assert_eq!(queue.take(at(300)), Ok(key("a")));
    }

    #[test]
    fn a_push_brings_a_deadline_forward_and_forgets_it() {
        let queue = Queue::default();
        queue.push(key("a"));
        let taken = queue.take(at(0)).expect("it is due");
        queue.done(taken, Some(at(300)));
        queue.push(key("a"));
        let taken = queue.take(at(1)).expect("pushed");
        queue.done(taken, None);
        assert_eq!(queue.take(at(1000)), Err(None));
    }

    #[test]
    fn retries_wait_longer_and_longer_up_to_a_limit_and_success_forgets_them() {
        let queue = Queue::default();
        let mut delays = Vec::new();
        for _ in 0..12 {
            queue.push(key("a"));
            let taken = queue.take(at(0)).expect("pushed");
            delays.push(queue.failed(taken, at(0)));
        }
        assert_eq!(delays[..3], [FIRST_RETRY, FIRST_RETRY * 2, FIRST_RETRY * 4]);
        assert_eq!(delays[11], LONGEST_RETRY);
        queue.push_failed();
        let taken = queue.take(at(0)).expect("failed keys are pushed");
        queue.done(taken, None);
        queue.push_failed();
        assert_eq!(queue.take(at(0)), Err(None));
    }
}
