//! What the outside and the inside of a lab say to each other: one JSON document a line, over one socket pair.

use std::net::SocketAddr;

use contract::names::csi_agent::OssMounter;
use journal::Entry;
use lab::{ExportCall, Fault, FaultHandle, LabError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The first line, from outside: how the lab is to be.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Hello {
    /// The lab's name.
    pub(crate) name: String,
    /// Seed of whatever is drawn by chance.
    pub(crate) seed: u64,
    /// Where the listeners that were handed in listen.
    pub(crate) listeners: Addresses,
    /// What mounts OSS volumes.
    pub(crate) oss_mounter: OssMounter,
}

/// The addresses on which a lab is reached from outside.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Addresses {
    /// The E2B API and the gateway.
    pub(crate) e2b: SocketAddr,
    /// The Kubernetes API.
    pub(crate) kubernetes: SocketAddr,
    /// The object store.
    pub(crate) object_store: SocketAddr,
    /// The NFS server.
    pub(crate) network_file_system: SocketAddr,
}

/// What the inside tells once it is up. Holds credentials, hence no `Debug`.
#[derive(Deserialize, Serialize)]
pub(crate) struct Up {
    /// A kubeconfig whose server is the outside address.
    pub(crate) kubeconfig: String,
    /// The API key of the E2B API.
    pub(crate) e2b_key: String,
    /// Endpoint of the object store as a pod reaches it.
    pub(crate) object_store_inside: String,
    /// The NFS server as a pod reaches it.
    pub(crate) network_file_system_inside: String,
    /// Region for signatures.
    pub(crate) region: String,
    /// The key that may do everything in the object store.
    pub(crate) access_key_id: String,
    /// Its secret.
    pub(crate) access_key_secret: String,
}

/// A request of the outside.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Request {
    /// The mount table of a sandbox's main container.
    Mounts {
        /// Namespace of the sandbox.
        namespace: String,
        /// Its name.
        sandbox: String,
    },
    /// Move the clock forward by so many milliseconds.
    Advance(u64),
    /// Start a fault.
    Inject(Fault),
    /// End a fault.
    Heal(FaultHandle),
    /// Do something at the NFS server, from its own side.
    Exports(ExportCall),
    /// What is there although no pod claims it.
    Leftovers,
    /// The memory that the lab holds.
    Memory,
    /// How many entries the journal inside has.
    Entries,
}

/// A line from outside after [`Hello`].
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Call {
    /// Comes back with the answer.
    pub(crate) id: u64,
    /// What is asked.
    pub(crate) request: Request,
}

/// A line from inside.
#[derive(Deserialize, Serialize)]
pub(crate) enum Report {
    /// The lab answers on every address.
    Up(Up),
    /// A part failed to come up, or ended.
    Failed {
        /// The part's name.
        part: String,
        /// What happened, with its causes.
        reason: String,
    },
    /// An entry of the journal.
    Journal(Entry),
    /// The answer to the call of that number.
    Answer {
        /// Number of the call.
        id: u64,
        /// Its result.
        result: Result<Value, Refusal>,
    },
}

/// Why a call was refused.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Refusal {
    /// No such object.
    NotFound {
        /// Kind of the object.
        what: String,
        /// Its name.
        name: String,
    },
    /// It was tried and failed.
    Failed {
        /// The part that failed.
        part: String,
        /// What happened.
        reason: String,
    },
}

impl Refusal {
    /// The error for the caller outside.
    pub(crate) fn into_error(self, lab: &str) -> LabError {
        match self {
            Self::NotFound { what, name } => LabError::NotFound { what, name },
            Self::Failed { part, reason } => LabError::Part { lab: lab.to_owned(), part, reason },
        }
    }
}
