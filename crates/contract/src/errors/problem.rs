//! One thing that went wrong.

use std::fmt;

use super::Code;

/// What went wrong, for a user: a stable code, a message, and the object it is about.
///
/// Secrets must never be put into any part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    message: String,
    object: Option<String>,
}

impl Problem {
    /// A problem of kind `code`. `message` says what was asked, what is wrong and, where it is short, what to do;
    /// lower case, no full stop.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), object: None }
    }

    /// The same problem, about `object`, such as `PersistentVolume/oss-pv`.
    #[must_use]
    pub fn about(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    /// The same problem with `prefix` and a colon before its message.
    #[must_use]
    pub fn within(mut self, prefix: &str) -> Self {
        self.message = format!("{prefix}: {}", self.message);
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The message alone.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The object it is about, as kind/name or kind/namespace/name.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// HTTP status to answer with.
    pub fn http_status(&self) -> u16 {
        self.code.http_status()
    }

    /// Exit status of a program that ends because of it.
    pub fn exit_code(&self) -> u8 {
        self.code.exit_code()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        match &self.object {
            Some(object) if !self.message.contains(object.as_str()) => write!(formatter, " ({object})"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}
