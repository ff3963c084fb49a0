//! What the journal learns of one connection: mounts and the first error of each kind at once, data calls as numbers
//! when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use journal::{Journal, source};
use serde_json::{Value, json};

/// Procedures that say nothing about the use of files.
const IDLE: &[&str] = &["NULL", "GETPORT", "?"];

/// The account of one connection; written to the journal when it is dropped.
#[derive(Debug)]
pub(crate) struct Account {
    journal: Option<Journal>,
    client: IpAddr,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    calls: BTreeMap<&'static str, u64>,
    errors: BTreeSet<(&'static str, String)>,
}

impl Account {
    pub(crate) fn new(journal: Option<Journal>, client: IpAddr) -> Self {
        Self { journal, client, counted: Mutex::default() }
    }

    pub(crate) fn client(&self) -> IpAddr {
        self.client
    }

    pub(crate) fn count(&self, procedure: &'static str) {
        *self.lock().calls.entry(procedure).or_default() += 1;
    }

    /// Tells of something at once.
    pub(crate) fn tell(&self, procedure: &str, subject: &str, mut body: Value) {
        if let Some(journal) = &self.journal {
            body["client"] = self.client.to_string().into();
            journal.record(source::NAS, procedure, subject, body);
        }
    }

    /// Tells of an error, unless the connection had the same before.
    pub(crate) fn error(
        &self,
        procedure: &'static str,
        error: &str,
        subject: impl FnOnce() -> String,
        uid: u32,
    ) {
        let first = self.lock().errors.insert((procedure, error.to_owned()));
        if first && self.journal.is_some() {
            self.tell(procedure, &subject(), json!({"error": error, "uid": uid}));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let calls = std::mem::take(&mut self.lock().calls);
        if calls.keys().any(|procedure| !IDLE.contains(procedure)) {
            self.tell("connection", &self.client.to_string(), json!({"calls": calls}));
        }
    }
}
