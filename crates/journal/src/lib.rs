//! The journal: one ordered log of everything that happens in a lab.
//!
//! ```text
//! API watch events ─┐
//! E2B requests ─────┤                       ┌─► expectations (eventually, never, count, order)
//! CSI calls ────────┼─► Journal::record ────┼─► journal.jsonl
//! mount tables ─────┤   (sequence, time,    └─► reports
//! processes, faults ┘    secrets concealed)
//! ```
//!
//! Expectations are asked of the journal and not of samples, so a state that lasted 20 ms is still seen. Processes
//! inside a pod cannot reach the journal: they [`announce`] entries as lines of their standard output, which whoever
//! reads the pod's log turns back with [`Draft::from_log_line`], on every backend alike.
#![warn(missing_docs)]

mod entry;
mod follow;
mod log_line;
pub mod secrecy;

use std::sync::{Arc, Mutex, PoisonError};

use clock::SharedClock;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

pub use entry::{Draft, Entry, source};
pub use follow::Follower;
pub use log_line::announce;

use secrecy::Concealer;

/// A handle to the journal; clones write to the same log.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: SharedClock,
    log: Mutex<Log>,
    length: watch::Sender<usize>,
    /// Whether entries are printed and not kept.
    is_printed: bool,
}

#[derive(Debug, Default)]
struct Log {
    entries: Vec<Arc<Entry>>,
    concealer: Concealer,
}

impl Journal {
    /// An empty journal whose entries are stamped by `clock`.
    pub fn new(clock: SharedClock) -> Self {
        Self::made(clock, false)
    }

    /// A journal that keeps nothing, for a component in a pod: every entry goes to standard output as a line
    /// ([`announce`]), without the secrets that the journal was told of.
    pub fn printing(clock: SharedClock) -> Self {
        Self::made(clock, true)
    }

    fn made(clock: SharedClock, is_printed: bool) -> Self {
        let length = watch::Sender::new(0);
        Self { shared: Arc::new(Shared { clock, log: Mutex::default(), length, is_printed }) }
    }

    /// Adds an entry. `source` is one of [`source`]'s names, `kind` says what happened (`NodePublishVolume`,
    /// `ADDED`), `subject` to which object (`Sandbox/default/name`), and `body` holds the particulars.
    pub fn record(&self, source: &str, kind: &str, subject: &str, body: Value) {
        self.add(Draft { source: source.into(), kind: kind.into(), subject: subject.into(), body });
    }

    /// Adds an entry drafted elsewhere.
    pub fn add(&self, draft: Draft) {
        self.push(draft, || self.shared.clock.now());
    }

    /// Adds an entry that another journal stamped, keeping its time; the sequence number is this journal's own.
    pub fn adopt(&self, entry: &Entry) {
        self.push(entry.draft(), || entry.time);
    }

    /// The time is asked for under the lock, so that entries are in the order of their times.
    fn push(&self, draft: Draft, time: impl FnOnce() -> Timestamp) {
        let length = {
            let mut log = self.lock();
            log.concealer.learn(&draft.body);
            let (draft, shown) = log.concealer.conceal(draft);
            let time = time();
            // A Secret may say what it holds.
            let shown = shown && !draft.subject.starts_with("Secret/");
            let report =
                shown.then(|| shown_in(&format!("{} {} {}", draft.source, draft.kind, draft.subject)));
            for Draft { source, kind, subject, body } in std::iter::once(draft).chain(report) {
                if self.shared.is_printed {
                    announce(&source, &kind, &subject, body);
                    continue;
                }
                let sequence = log.entries.len() as u64;
                log.entries.push(Arc::new(Entry { sequence, time, source, kind, subject, body }));
            }
            log.entries.len()
        };
        self.shared.length.send_replace(length);
    }

    /// From now on replaces `secret`, in every encoding of `storage.md` §10, wherever an entry would show it.
    /// A value shorter than [`secrecy::SHORTEST`] bytes is too common to be replaced and is ignored.
    pub fn conceal(&self, secret: &str) {
        self.lock().concealer.add(secret);
    }

    /// Conceals `secret` as well, and guards it: nobody but a Secret may show it, and an entry that did is followed by
    /// one of kind [`secrecy::SHOWN`].
    pub fn guard(&self, secret: &str) {
        self.lock().concealer.guard(secret);
    }

    /// Looks for guarded secrets in `text`, which isn't an entry; one that is there is told with `origin`.
    pub fn inspect(&self, origin: &str, text: &str) {
        if self.lock().concealer.gives_away(text) {
            self.add(shown_in(origin));
        }
    }

    /// Every entry so far, oldest first.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.lock().entries.clone()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether nothing has been recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader that sees every entry from sequence number `from` on, past and future.
    pub fn follow(&self, from: u64) -> Follower {
        Follower::new(self.clone(), from, self.shared.length.subscribe())
    }

    fn get(&self, sequence: u64) -> Option<Arc<Entry>> {
        self.lock().entries.get(usize::try_from(sequence).ok()?).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Log> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown_in(origin: &str) -> Draft {
    Draft {
        source: source::LAB.into(),
        kind: secrecy::SHOWN.into(),
        subject: origin.into(),
        body: Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clock::{Clock as _, SimulatedClock, SystemClock};
    use serde_json::json;

    use super::*;

    fn journal() -> Journal {
        Journal::new(SystemClock::shared())
    }

    #[test]
    fn entries_are_numbered_in_order_and_stamped_by_the_clock() {
        let clock = SimulatedClock::default();
        let journal = Journal::new(Arc::new(clock.clone()));
        journal.record(source::SCENARIO, "step", "one", json!({}));
        clock.advance(Duration::from_secs(60));
        journal.record(source::SCENARIO, "step", "two", json!({}));
        let entries = journal.entries();
        assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [0, 1]);
        assert!(entries[1].time.duration_since(entries[0].time).as_secs() >= 60);
        assert!(entries[1].time <= clock.now());
    }

    #[test]
    fn a_concealed_value_never_enters_in_any_encoding() {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let journal = journal();
        let secret = "AKSECRET-0123456789";
        journal.conceal(secret);
        for padding in ["", "x", "xy"] {
            let encoded = BASE64_STANDARD.encode(format!("{padding}{secret}tail"));
            journal.record(source::CSI, "call", secret, json!({"arg": encoded, secret: [secret]}));
        }
        for entry in journal.entries() {
            let line = serde_json::to_string(&*entry).expect("serializes");
            for encoding in secrecy::encodings(secret) {
                assert!(!line.contains(&encoding), "{line} shows {encoding}");
            }
        }
    }

    #[test]
    fn a_token_in_an_annotation_is_concealed_by_whoever_sees_it_first() {
        let journal = journal();
        let token = "c6a1b0b0-c963-464c-99b8-f6ed3f617ad3";
        let annotations = json!({
            "agents.kruise.io/init-runtime-request": format!("{{\"accessToken\":\"{token}\"}}"),
            "agents.kruise.io/runtime-access-token": token,
        });
        let object = json!({"metadata": {"annotations": annotations}});
        journal.record(source::SCENARIO, "outcome", "step 1", json!({"outcome": {"objects": [object]}}));
        journal.record(source::E2B, "answer", token, Value::Null);
        for entry in journal.entries() {
            let line = serde_json::to_string(&*entry).expect("serializes");
            assert!(!line.contains(token), "{line}");
            assert!(line.contains(secrecy::REDACTED), "{line}");
        }
    }

    #[test]
    fn a_very_long_secret_is_concealed_without_making_others_wait() {
        let journal = journal();
        let long = "x".repeat(150_000);
        journal.guard(&long);
        let begun = std::time::Instant::now();
        for number in 0..20 {
            journal.conceal(&format!("token-of-sandbox-{number}"));
            journal.record(
                source::CSI,
                "call",
                "/d",
                json!({"message": format!("<{long}> token-of-sandbox-{number}")}),
            );
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        for entry in journal.entries().iter().filter(|entry| entry.kind == "call") {
            assert_eq!(entry.body["message"], "<[redacted]> [redacted]");
        }
    }

    #[test]
    fn a_guarded_secret_that_shows_is_told_and_concealed() {
        let journal = journal();
        journal.conceal("token-of-a-sandbox");
        journal.guard("AKSECRET-0123456789");
        journal.record(source::KUBERNETES, "ADDED", "Secret/ns/oss", json!({"data": "AKSECRET-0123456789"}));
        journal.record(source::CSI, "call", "/data", json!({"token": "token-of-a-sandbox"}));
        journal.record(source::CSI, "call", "/data", json!({"message": "key AKSECRET-0123456789 is wrong"}));
        journal.inspect("log of a pod", "nothing");
        journal.inspect("log of a pod", "AKSECRET-0123456789");
        let entries = journal.entries();
        let told: Vec<_> = entries.iter().filter(|entry| entry.kind == secrecy::SHOWN).collect();
        let subjects: Vec<_> = told.iter().map(|entry| entry.subject.as_str()).collect();
        assert_eq!(subjects, ["csi call /data", "log of a pod"]);
        assert!(entries.iter().all(|entry| !entry.body.to_string().contains("0123456789")));
        assert_eq!(entries.last().map(|entry| entry.sequence), Some(4));
    }

    #[tokio::test]
    async fn a_follower_sees_what_was_there_and_what_comes() {
        let journal = journal();
        journal.record(source::SCENARIO, "a", "", Value::Null);
        let mut follower = journal.follow(0);
        let writer = journal.clone();
        let task = tokio::spawn(async move {
            let mut kinds = Vec::new();
            for _ in 0..2 {
                kinds.push(follower.next().await.kind.clone());
            }
            kinds
        });
        writer.record(source::SCENARIO, "b", "", Value::Null);
        let kinds =
            tokio::time::timeout(Duration::from_secs(5), task).await.expect("in time").expect("no panic");
        assert_eq!(kinds, ["a", "b"]);
    }

    #[test]
    fn a_line_of_a_pods_log_carries_an_entry() {
        let draft = Draft {
            source: source::CSI.into(),
            kind: "NodePublishVolume".into(),
            subject: "/data".into(),
            body: json!({"code": "OK"}),
        };
        let line = draft.to_log_line();
        assert!(!line.contains('\n'));
        assert_eq!(Draft::from_log_line(&line), Some(draft));
        assert_eq!(Draft::from_log_line("plain text"), None);
        assert_eq!(Draft::from_log_line("{\"level\":\"INFO\"}"), None);
    }
}
