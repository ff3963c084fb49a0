//! What a control-plane request is refused with (`e2b-api.md` §2.4).
//!
//! An [`ApiError`] is a code of the one error table, the status that goes with it, and a message. The envelope around
//! it (`code`, `headers`, `request_id`, the `X-Request-ID` and `Should-Retry` headers) is added in one place,
//! [`crate::api::envelope`], so that no answer can miss it.

use axum::response::{IntoResponse, Response};
use contract::errors::{Code, Problem};
use http::StatusCode;
pub(crate) use runtime_client::{is_conflict, is_not_found};

/// A refusal on its way to the caller. Its `Display` is the message without the status.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status, and the `code` member of the body: the two are always equal.
    pub status: StatusCode,
    /// The stable code, `error_code` of the body.
    pub code: Code,
    /// What was asked, what is wrong with it and what to do; without secrets.
    pub message: String,
}

impl ApiError {
    /// An error with the status that the table gives its code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, code, message: message.into() }
    }

    /// 400: a parameter, key or header can't be used.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameter, message)
    }

    /// 500: the request was right and the work failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// 501: a call of the E2B API that this manager knows and doesn't serve.
    pub fn not_supported(what: &str) -> Self {
        Self::new(Code::NotSupported, format!("{what} is not supported by this sandbox manager"))
    }

    /// 404 for a sandbox, in the same words whether it is missing or somebody else's.
    pub fn sandbox_not_found(id: &str) -> Self {
        Self::new(Code::SandboxNotFound, format!("sandbox {id:?} not found"))
    }

    /// The failure of a Kubernetes call while doing `action`. Its particulars are internal and go to the log only.
    pub fn kubernetes(action: &str, error: &kube::Error) -> Self {
        runtime_client::kubernetes_problem(action, error).into()
    }

    /// The same error with another status than its code's.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same error with the sandbox named behind the message, as upstream does (§2.4, 4); once, and not where it
    /// must not show whether there is one.
    #[must_use]
    pub fn about(mut self, namespace: &str, name: &str) -> Self {
        let suffix = format!("; sandboxResource={namespace}/{name}");
        if self.code != Code::SandboxNotFound && !self.message.ends_with(&suffix) {
            self.message.push_str(&suffix);
        }
        self
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::new(problem.code(), problem.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
