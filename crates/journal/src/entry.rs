//! What one line of the journal holds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The names that [`Entry::source`] takes.
pub mod source {
    /// Steps and verdicts of the scenario engine.
    pub const SCENARIO: &str = "scenario";
    /// Watch events of the Kubernetes API: kind `ADDED`, `MODIFIED` or `DELETED`, body the object.
    pub const KUBERNETES: &str = "kubernetes";
    /// Requests to the E2B API and their answers.
    pub const E2B: &str = "e2b";
    /// Calls of CSI Identity and Node services: kind is the method, body has `code`.
    pub const CSI: &str = "csi";
    /// Changes of a sandbox's mount table: kind `mounted` or `unmounted`.
    pub const MOUNTS: &str = "mounts";
    /// Containers and other processes: kind `started` or `exited`.
    pub const PROCESS: &str = "process";
    /// Network policies: kind `ruled`, with the policies that now rule a pod's traffic.
    pub const NETWORK: &str = "network";
    /// Requests to the embedded object store.
    pub const OSS: &str = "oss";
    /// Mounts, errors and numbers of calls at the NFS server.
    pub const NAS: &str = "nas";
    /// Faults: kind `injected`, `struck` or `healed`.
    pub const FAULT: &str = "fault";
    /// The lab itself: kind `phase`, with the part that came up or went down.
    pub const LAB: &str = "lab";
    /// The in-sandbox agent.
    pub const AGENT: &str = "agent";
}

/// An entry before the journal has given it a number and a time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Draft {
    /// Who reports it: one of [`source`]'s names.
    pub source: String,
    /// What happened.
    pub kind: String,
    /// The object it happened to, as `Kind/namespace/name`, a path, or another name of its source's making.
    pub subject: String,
    /// The particulars, never with a secret in them.
    #[serde(default)]
    pub body: Value,
}

/// One line of the journal.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Entry {
    /// Position in the journal, from 0, without gaps.
    pub sequence: u64,
    /// When it was recorded, by the lab's clock.
    pub time: Timestamp,
    /// Who reports it: one of [`source`]'s names.
    pub source: String,
    /// What happened.
    pub kind: String,
    /// The object it happened to.
    pub subject: String,
    /// The particulars.
    #[serde(default)]
    pub body: Value,
}

impl Entry {
    /// The entry without its number and time.
    pub fn draft(&self) -> Draft {
        Draft {
            source: self.source.clone(),
            kind: self.kind.clone(),
            subject: self.subject.clone(),
            body: self.body.clone(),
        }
    }
}
