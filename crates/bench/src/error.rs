//! Why a benchmark has no figure.

use std::path::PathBuf;
use std::time::Duration;

/// What went wrong while measuring.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The measured scenario didn't hold.
    #[error("{} ended with {status} instead of holding: {output}", scenario.display())]
    Scenario {
        /// The scenario file.
        scenario: PathBuf,
        /// How the program ended.
        status: String,
        /// What it said.
        output: String,
    },
    /// A report lacks what a figure is made of.
    #[error("{} has no {what}", file.display())]
    Report {
        /// The file of the report.
        file: PathBuf,
        /// What was looked for.
        what: String,
    },
    /// The lab failed.
    #[error("the lab failed")]
    Lab(#[from] lab::LabError),
    /// A call to the E2B API failed.
    #[error("{action} failed")]
    Client {
        /// What was asked.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: e2b_client::ClientError,
    },
    /// A call to the Kubernetes API failed.
    #[error("{action} failed")]
    Kubernetes {
        /// What was asked.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bucket could not be made.
    #[error("the benchmark's bucket could not be made")]
    Bucket(#[from] scenario::BucketError),
    /// The backend lacks what is measured.
    #[error("this backend has no object store of its own")]
    NoObjectStore,
    /// The backend lacks what is measured.
    #[error("this backend has no NFS server of its own")]
    NoNetworkFileSystem,
    /// The export that is measured on could not be made.
    #[error("the lab's NFS server does not offer {path}: {code}: {message}")]
    Export {
        /// Its path.
        path: &'static str,
        /// The server's code.
        code: String,
        /// What the server said.
        message: String,
    },
    /// A watch ended although nobody ended it.
    #[error("the watch of {0} ended")]
    WatchEnded(&'static str),
    /// Something ended otherwise than it should.
    #[error("the {object} ended otherwise than it should: {status}")]
    Ended {
        /// Its kind.
        object: &'static str,
        /// Its status.
        status: String,
    },
    /// A named deadline passed.
    #[error("{deadline} of {limit:?} passed; last state: {last}")]
    Deadline {
        /// The deadline's name.
        deadline: &'static str,
        /// Its length.
        limit: Duration,
        /// What was seen last.
        last: String,
    },
    /// The peer could not be run.
    #[error("{program} {action}: {reason}")]
    Peer {
        /// Its name.
        program: &'static str,
        /// What it was to do.
        action: &'static str,
        /// Why it didn't.
        reason: String,
    },
    /// The CSI node agent did not do what it was asked.
    #[error("{action} the CSI node agent failed: {reason}")]
    Agent {
        /// What it was to do.
        action: &'static str,
        /// Why it didn't.
        reason: String,
    },
    /// An operation of the machine failed.
    #[error("{action} failed")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// Names what was tried.
pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
    let action = action.into();
    move |source| BenchError::Io { action, source }
}
