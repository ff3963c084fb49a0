//! Why there is no cluster.

use std::io;
use std::path::Path;
use std::time::Duration;

use lab::LabError;

use crate::NAME;

/// An error of bringing up, using or taking down what the kind backend is made of.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// This machine lacks something, or something on it is in the way.
    #[error("{missing}; {remedy}")]
    Machine {
        /// What is missing or in the way.
        missing: String,
        /// What to do about it.
        remedy: String,
    },
    /// A program did not do its work.
    #[error("{action} failed: {reason}")]
    Program {
        /// What it was started for.
        action: String,
        /// Its last words, and where all of them are.
        reason: String,
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
    /// An operation of the machine failed.
    #[error("{action} failed")]
    Io {
        /// What was tried, with the path or name.
        action: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl KindError {
    /// Something that is missing or in the way, and what to do about it.
    pub(crate) fn machine(missing: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Machine { missing: missing.into(), remedy: remedy.into() }
    }

    /// A program that did not do its work.
    pub(crate) fn program(action: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Program { action: action.into(), reason: reason.into() }
    }

    /// Makes the error of an operation on a path.
    pub(crate) fn io(action: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let action = format!("{action} {}", path.display());
        move |source| Self::Io { action, source }
    }
}

impl From<KindError> for LabError {
    fn from(error: KindError) -> Self {
        match error {
            KindError::Machine { missing, remedy } => Self::Machine { backend: NAME, missing, remedy },
            KindError::Program { action, reason } => {
                Self::Part { lab: NAME.to_owned(), part: action, reason }
            }
            KindError::Deadline { deadline, limit, last } => Self::Deadline { deadline, limit, last },
            KindError::Io { action, source } => Self::Io { action, source },
        }
    }
}
