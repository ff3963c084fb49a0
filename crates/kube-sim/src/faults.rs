//! Faults: a layer around the answers, asked before each request for a resource.

use std::fmt::Debug;
use std::time::Duration;

use crate::api::Call;
use crate::error::ApiError;
use crate::http::path::ResourcePath;

/// A request as a fault rule sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestFacts {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural name of the resource, such as `pods`.
    pub resource: String,
    /// Empty for cluster scope and for lists of all namespaces.
    pub namespace: String,
    /// Absent in requests for a collection.
    pub name: Option<String>,
    /// Such as `status`.
    pub subresource: Option<String>,
    /// The field manager, or the name of the client program.
    pub manager: String,
}

/// What a request meets instead of, or before, its answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ApiFault {
    /// 409: the object was modified meanwhile. Nothing is written.
    Conflict,
    /// 410: the version that the list or watch resumes from is gone.
    Expired,
    /// 503: nothing is done.
    Unavailable,
    /// 429 with a wait of this many seconds: nothing is done.
    TooManyRequests(u64),
    /// 403: nothing is done.
    Forbidden,
    /// The request is answered after this time of the machine's clock.
    Slow(Duration),
}

/// Decides which requests are struck.
pub trait Faults: Debug + Send + Sync {
    /// The fault that strikes this request, if one does.
    fn strike(&self, request: &RequestFacts) -> Option<ApiFault>;
}

pub(crate) fn facts(method: &http::Method, path: &ResourcePath, call: &Call) -> RequestFacts {
    let verb = match (method.as_str(), path.name.is_some()) {
        ("GET", _) if call.query.flag("watch") => "watch",
        ("GET", true) => "get",
        ("GET", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "other",
    };
    RequestFacts {
        verb,
        group: path.group.clone(),
        resource: path.plural.clone(),
        namespace: call.namespace.clone(),
        name: path.name.clone(),
        subresource: path.subresource.clone(),
        manager: call.manager.clone(),
    }
}

impl ApiFault {
    /// Lets the fault take effect: waits, or refuses.
    pub(crate) async fn take_effect(self, call: &Call) -> Result<(), ApiError> {
        let (group, plural) = (&call.resource.group, &call.resource.plural);
        let name = call.name.as_deref().unwrap_or_default();
        match self {
            Self::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Self::Conflict => Err(ApiError::modified(group, plural, name)),
            Self::Expired => Err(ApiError::expired(0, 1)),
            Self::Unavailable => Err(ApiError::new(
                503,
                "ServiceUnavailable",
                "the server is currently unable to handle the request (injected fault)",
            )),
            Self::TooManyRequests(seconds) => {
                let mut error = ApiError::new(429, "TooManyRequests", "too many requests (injected fault)");
                error.details = Some(serde_json::json!({"retryAfterSeconds": seconds}));
                Err(error)
            }
            Self::Forbidden => Err(ApiError::forbidden(group, plural, name, "injected fault")),
        }
    }
}
