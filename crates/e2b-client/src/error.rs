//! What can go wrong with a call.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::frames::FrameError;

/// A call that had no success.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The settings can't be used.
    #[error("setting {name} is not usable: {reason}")]
    Settings {
        /// Which setting.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The server answered, with an error.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// No answer: the connection failed or broke.
    #[error("{operation} got no answer")]
    Transport {
        /// What was asked.
        operation: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("{operation} got no answer within {limit:?}; last state: {last}")]
    Deadline {
        /// What was asked.
        operation: String,
        /// The limit, which the caller or [`crate::Settings`] gave.
        limit: Duration,
        /// How far it had come.
        last: String,
    },
    /// An answer that breaks the protocol.
    #[error("{operation} was answered against the protocol: {reason}")]
    Malformed {
        /// What was asked.
        operation: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// A stream whose frames can't be read.
    #[error("the stream of {operation} can't be read")]
    Frames {
        /// What was asked.
        operation: String,
        /// Why.
        #[source]
        source: FrameError,
    },
}

impl ClientError {
    /// The refusal, if the server answered with an error.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    pub(crate) fn malformed(operation: &str, reason: impl fmt::Display) -> Self {
        Self::Malformed { operation: operation.to_owned(), reason: reason.to_string() }
    }
}

/// The `code` of an error body: a number from the control plane, envd's HTTP part and the gateway, a name from
/// the Connect protocol.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(untagged)]
pub enum Code {
    /// Such as 400; must equal the HTTP status (`e2b-api.md` §2.4).
    Number(i64),
    /// Such as `not_found` (`e2b-api.md` §10).
    Name(String),
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
        }
    }
}

/// An answer that says no.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{operation} was refused with {status}: {message}")]
pub struct Refusal {
    /// What was asked, such as `create sandbox`.
    pub operation: String,
    /// The HTTP status; 200 when a stream ended with a Connect error.
    pub status: u16,
    /// `code` of the body; absent when the body is not the JSON envelope.
    pub code: Option<Code>,
    /// `message` of the body, or the body's text when it is not the JSON envelope.
    pub message: String,
    /// The header `X-Request-ID`, or `request_id` of the body.
    pub request_id: Option<String>,
    /// The header `Should-Retry`, as sent.
    pub should_retry: Option<String>,
    /// Whether the body was the JSON envelope with both `code` and `message`, which the Python SDK insists on.
    pub is_envelope: bool,
}

/// How much of a body that is not an envelope is kept in [`Refusal::message`], in characters.
const LONGEST_TEXT: usize = 2000;

impl Refusal {
    pub(crate) fn read(
        operation: &str,
        status: u16,
        headers: &reqwest::header::HeaderMap,
        body: &[u8],
    ) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let envelope: Option<Value> = serde_json::from_slice(body).ok();
        let member = |name: &str| envelope.as_ref().and_then(|envelope| envelope.get(name));
        let code = member("code").and_then(|code| Code::deserialize(code).ok());
        let message = member("message").and_then(Value::as_str).map(str::to_owned);
        Self {
            operation: operation.to_owned(),
            status,
            is_envelope: code.is_some() && message.is_some(),
            message: message.unwrap_or_else(|| text_of(body)),
            request_id: header("x-request-id")
                .or_else(|| member("request_id").and_then(Value::as_str).map(str::to_owned)),
            should_retry: header("should-retry"),
            code,
        }
    }
}

fn text_of(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(LONGEST_TEXT).collect()
}
