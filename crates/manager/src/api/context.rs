//! What handlers know of the request beside its body: request id, caller, host.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use contract::errors::Code;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::error::ApiError;
use crate::gateway::recognise;
use crate::keys::Caller;
use crate::manager::Manager;

/// The header with the caller's key.
const KEY_HEADER: &str = "x-api-key";
/// The header that names a request, in both directions.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// One request, as far as all handlers need it. Clones share what handlers note.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) request_id: String,
    /// Whether the path began with `/kruise/api`.
    pub(crate) prefixed: bool,
    /// The host that the request named, with its port.
    pub(crate) host: Option<String>,
    /// The route's template, once routing has found it.
    pub(crate) route: Arc<OnceLock<String>>,
    /// The sandbox that the request turned out to be about.
    pub(crate) subject: Arc<Mutex<Option<String>>>,
}

impl Context {
    pub(crate) fn new(uri: &Uri, headers: &HeaderMap, prefixed: bool) -> Self {
        Self {
            request_id: request_id(headers),
            prefixed,
            host: recognise::host(uri, headers).map(str::to_owned),
            route: Arc::default(),
            subject: Arc::default(),
        }
    }

    /// Notes the sandbox that the journal's line is about.
    pub(crate) fn concerns(&self, sandbox_id: &str) {
        *self.subject.lock().unwrap_or_else(PoisonError::into_inner) = Some(sandbox_id.to_owned());
    }

    /// The base domain of sandboxes (`e2b-api.md` §3.4): what the operator set, or what the request was sent to.
    pub(crate) fn domain(&self, configured: Option<&str>) -> Result<String, ApiError> {
        if let Some(domain) = configured {
            return Ok(domain.to_owned());
        }
        let host = self.host.as_deref().unwrap_or_default();
        let domain = if self.prefixed { host.to_owned() } else { derived_domain(host) };
        if domain.is_empty() {
            return Err(ApiError::bad_request(
                "the request names no host, so the sandboxes' domain is unknown",
            ));
        }
        Ok(domain)
    }
}

fn derived_domain(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let host = host.strip_prefix("api.").unwrap_or(&host);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    match port {
        Some(port) if !name.is_empty() => format!("{name}:{port}"),
        _ => name.to_owned(),
    }
}

/// The caller's id for the request, whatever it looks like, or a new one of 32 hex digits.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty())
        .map_or_else(|| uuid::Uuid::new_v4().simple().to_string(), str::to_owned)
}

impl<S: Sync> FromRequestParts<S> for Context {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let context = parts.extensions.get::<Self>().cloned();
        context.ok_or_else(|| ApiError::internal("a request reached its handler without a context"))
    }
}

impl FromRequestParts<Manager> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, manager: &Manager) -> Result<Self, ApiError> {
        manager.ready().await?;
        if !manager.shared.options.authentication {
            return Ok(Self::anybody());
        }
        let presented =
            parts.headers.get(KEY_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let caller = if presented.is_empty() { None } else { manager.shared.keys.caller(presented) };
        caller.ok_or_else(|| ApiError::new(Code::Unauthorized, "Invalid API Key"))
    }
}

/// Middleware that notes the route's template for the journal.
pub(crate) async fn note_route(request: Request, next: Next) -> Response {
    if let (Some(context), Some(path)) =
        (request.extensions().get::<Context>(), request.extensions().get::<MatchedPath>())
    {
        let _ = context.route.set(path.as_str().to_owned());
    }
    next.run(request).await
}

/// 404 in JSON: a text answer makes the Python SDK raise a parser's error (`e2b-api.md` §2.4).
pub(crate) async fn no_such_route(method: Method, uri: Uri) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no route {method} {}", uri.path()))
}

/// 405 in JSON, for the same reason.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(Code::NotFound, format!("{} does not take {method}", uri.path()))
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("api.sbx.localhost:3000", "sbx.localhost:3000")]
    #[case("API.Example.com", "example.com")]
    #[case("example.com.", "example.com")]
    #[case("api.example.com.:443", "example.com:443")]
    #[case("127.0.0.1:3000", "127.0.0.1:3000")]
    #[case("", "")]
    fn the_domain_is_derived_from_the_host(#[case] host: &str, #[case] domain: &str) {
        assert_eq!(derived_domain(host), domain);
    }

    #[test]
    fn with_the_prefix_the_host_is_taken_unchanged() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "API.example.com".parse().expect("header"));
        let context = |prefixed| Context::new(&Uri::from_static("/"), &headers, prefixed);
        assert_eq!(context(true).domain(None).expect("known"), "API.example.com");
        assert_eq!(context(false).domain(None).expect("known"), "example.com");
        assert_eq!(context(false).domain(Some("sbx.test")).expect("known"), "sbx.test");
    }

    #[test]
    fn without_a_host_there_is_no_domain() {
        let context = Context::new(&Uri::from_static("/"), &HeaderMap::new(), false);
        assert_eq!(context.domain(None).expect_err("refused").status, StatusCode::BAD_REQUEST);
    }
}
