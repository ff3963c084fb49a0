//! Which step of starting a container failed.

use std::io;

/// A step that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub(super) struct ShimError {
    step: String,
    #[source]
    source: Option<io::Error>,
}

impl ShimError {
    pub(super) fn new(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { step: step.into(), source: Some(source.into()) }
    }

    /// A step without a cause of the kernel's, or one that is already in the text.
    pub(super) fn said(step: impl Into<String>) -> Self {
        Self { step: step.into(), source: None }
    }

    /// The step and its cause in one line.
    pub(super) fn chain(&self) -> String {
        match &self.source {
            Some(source) => format!("{}: {source}", self.step),
            None => self.step.clone(),
        }
    }
}

/// Names the step that an error belongs to.
pub(super) trait At<T> {
    /// The value, or the error with its step.
    fn at<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T, ShimError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T, ShimError> {
        self.map_err(|error| ShimError::new(step(), error))
    }
}
