//! Why a lab could not do what was asked.

use std::time::Duration;

/// An error of a backend or a running lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// This machine lacks something that the backend needs. Exit status 3.
    #[error("this machine can't run the {backend} backend: {missing}; {remedy}")]
    Machine {
        /// The backend's name.
        backend: &'static str,
        /// What is missing.
        missing: String,
        /// How to get it.
        remedy: String,
    },
    /// A part of the lab didn't come up, or ended.
    #[error("{part} of lab {lab} failed: {reason}")]
    Part {
        /// The lab's name.
        lab: String,
        /// The part's name, such as `API server`.
        part: String,
        /// What happened.
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
    /// The backend cannot do this at all.
    #[error("the {backend} backend lacks {what}")]
    Unsupported {
        /// The backend's name.
        backend: &'static str,
        /// What it lacks.
        what: String,
    },
    /// There is no such object in the lab.
    #[error("{what} {name} is not in this lab")]
    NotFound {
        /// Kind of the object.
        what: String,
        /// Its name.
        name: String,
    },
    /// An operation of the machine failed.
    #[error("{action} failed")]
    Io {
        /// What was tried, with the path or name.
        action: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// An error and its causes in one line; a cause whose words are there already is left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
