//! Why a mount or unmount failed.

use std::fmt;

/// The kind of a failure, in gRPC's words, as far as callers act on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The request itself can't be read or names an unknown driver: HTTP 400.
    BadRequest,
    /// A call took longer than its limit. Trying again would only wait again.
    DeadlineExceeded,
    /// The driver's socket broke off: trying again is worth it. HTTP 503.
    Unavailable,
    /// What the driver answered, or what was found in the sandbox.
    Failed(tonic::Code),
}

/// A failed mount or unmount. Its text holds no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    reason: Reason,
    message: String,
}

impl Problem {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// The request can't be understood.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// The request asks for something that can't be.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Reason::Failed(tonic::Code::InvalidArgument), message)
    }

    /// Something in the sandbox is in the way.
    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Self::new(Reason::Failed(tonic::Code::FailedPrecondition), message)
    }

    /// An operation in the sandbox failed.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Reason::Failed(tonic::Code::Internal), message)
    }

    /// The kind of failure.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// gRPC's name of the kind, such as `DeadlineExceeded`.
    pub fn code(&self) -> String {
        self.reason.to_string()
    }

    /// The same problem within a wider one.
    #[must_use]
    pub(crate) fn within(self, message: impl fmt::Display) -> Self {
        Self { reason: self.reason, message: format!("{message}: {}", self.message) }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self {
            Self::BadRequest => tonic::Code::InvalidArgument,
            Self::DeadlineExceeded => tonic::Code::DeadlineExceeded,
            Self::Unavailable => tonic::Code::Unavailable,
            Self::Failed(code) => *code,
        };
        write!(formatter, "{code:?}")
    }
}
