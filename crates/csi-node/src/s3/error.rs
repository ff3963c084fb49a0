//! Why a request to the object store failed.

use std::time::Duration;

use thiserror::Error;

/// What to look at when packets don't get through.
pub const EGRESS_MAY_BE_FORBIDDEN: &str = "egress to it may be forbidden by a NetworkPolicy or TrafficPolicy";

/// A request that did not succeed. No text of the server but its error code is kept: error documents of S3 servers
/// quote key ids, signatures and canonical requests.
#[derive(Debug, Error)]
pub enum S3Error {
    /// The server answered with an error.
    #[error("{operation} of {subject:?}: the object store answered {status} {code}")]
    Answer {
        /// The S3 operation.
        operation: &'static str,
        /// The key, prefix or bucket it was for.
        subject: String,
        /// HTTP status.
        status: u16,
        /// S3 error code, such as `NoSuchBucket`; empty where the answer had none.
        code: String,
    },
    /// The host name has no address.
    #[error("endpoint {host} can't be resolved")]
    Unresolved {
        /// Host and port.
        host: String,
    },
    /// Nothing listens at the endpoint.
    #[error("endpoint {host} refuses connections")]
    Refused {
        /// Host and port.
        host: String,
    },
    /// The network carries nothing to the endpoint.
    #[error("no connection to endpoint {host}: {reason}; {EGRESS_MAY_BE_FORBIDDEN}")]
    Unroutable {
        /// Host and port.
        host: String,
        /// What the network said.
        reason: String,
    },
    /// The connection could not be made, or broke.
    #[error("connection to endpoint {host} failed: {reason}")]
    Broken {
        /// Host and port.
        host: String,
        /// What the network said.
        reason: String,
    },
    /// No answer within the limit.
    #[error("endpoint {host} gave no answer to {operation} within {limit:?}")]
    TimedOut {
        /// Host and port.
        host: String,
        /// The S3 operation.
        operation: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// The answer isn't what S3 answers.
    #[error("answer to {operation} can't be understood: {reason}")]
    Malformed {
        /// The S3 operation.
        operation: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl S3Error {
    /// The HTTP status, where the server answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The S3 error code, where the server gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Answer { code, .. } if !code.is_empty() => Some(code),
            _ => None,
        }
    }

    /// Whether the object isn't there.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether the object is there, but in another version than was asked for.
    pub fn is_changed(&self) -> bool {
        self.status() == Some(412)
    }

    /// Whether a range was asked for that lies past the end of the object.
    pub fn is_past_end(&self) -> bool {
        self.status() == Some(416)
    }

    /// Whether the same request may succeed if it is made again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Answer { status, code, .. } => {
                matches!(status, 429 | 500 | 502..=504) || code == "RequestTimeout"
            }
            Self::Malformed { .. } => false,
            Self::Unresolved { .. }
            | Self::Refused { .. }
            | Self::Unroutable { .. }
            | Self::Broken { .. }
            | Self::TimedOut { .. } => true,
        }
    }
}
