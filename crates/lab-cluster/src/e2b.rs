//! The E2B API of the cluster, as its operator uses it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Limit of a call of the lab's own.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Limit of one look whether the API answers, and the pause after it.
const ONE_LOOK: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// Why a request had no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// The address can't be used.
    #[error("{url} is no address of an E2B API: {reason}")]
    Address { url: String, reason: String },
    /// The request could not be sent.
    #[error("{method} {path} failed")]
    Send {
        method: Method,
        path: String,
        #[source]
        source: hyper_util::client::legacy::Error,
    },
    /// The answer broke off.
    #[error("an answer of the E2B API broke off")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No answer in time.
    #[error("{method} {path} had no answer within {CALL_LIMIT:?}")]
    Late { method: Method, path: String },
    /// The API said no.
    #[error("{asked} was refused: {status}: {message}")]
    Refused { asked: &'static str, status: StatusCode, message: String },
}

/// The API behind a base URL.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    http: Client<HttpsConnector<HttpConnector>, Body>,
    base: Uri,
}

impl Upstream {
    /// The API at `url`, `http` or `https`, with or without a path.
    pub(crate) fn new(url: &str) -> Result<Self, UpstreamError> {
        let wrong = |reason: String| UpstreamError::Address { url: url.to_owned(), reason };
        let base: Uri = url.trim_end_matches('/').parse().map_err(|error| wrong(format!("{error}")))?;
        if base.authority().is_none() || !matches!(base.scheme_str(), Some("http" | "https")) {
            return Err(wrong("write http://HOST or https://HOST".to_owned()));
        }
        let tls = tls(base.scheme_str() == Some("https")).map_err(wrong)?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self { http: Client::builder(TokioExecutor::new()).build(connector), base })
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        self.base.authority().map(http::uri::Authority::as_str).unwrap_or_default()
    }

    /// Sends a request; its answer's body goes on as it comes.
    pub(crate) async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        content: Body,
    ) -> Result<Response<hyper::body::Incoming>, UpstreamError> {
        let prefix = self.base.path().trim_end_matches('/');
        let scheme = self.base.scheme_str().unwrap_or("http");
        let uri = format!("{scheme}://{}{prefix}{path_and_query}", self.authority());
        let built = Request::builder().method(method.clone()).uri(&uri).body(content);
        let mut request =
            built.map_err(|error| UpstreamError::Address { url: uri.clone(), reason: error.to_string() })?;
        *request.headers_mut() = headers;
        let path = path_and_query.split('?').next().unwrap_or_default().to_owned();
        self.http.request(request).await.map_err(|source| UpstreamError::Send { method, path, source })
    }

    /// All of an answer's body.
    pub(crate) async fn read(content: hyper::body::Incoming) -> Result<Bytes, UpstreamError> {
        content
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| UpstreamError::Read(error.into()))
    }

    /// Waits until the API answers. The error is what was in the way last.
    pub(crate) async fn until_healthy(&self, limit: Duration) -> Result<(), String> {
        let end = Instant::now() + limit;
        loop {
            let asked = self.send(Method::GET, "/health", HeaderMap::new(), Body::empty());
            let last = match tokio::time::timeout(ONE_LOOK, asked).await {
                Ok(Ok(answer)) if answer.status().is_success() => return Ok(()),
                Ok(Ok(answer)) => format!("GET /health: {}", answer.status()),
                Ok(Err(error)) => lab::chain(&error),
                Err(_) => format!("GET /health had no answer within {ONE_LOOK:?}"),
            };
            if Instant::now() >= end {
                return Err(last);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A key for the team that a namespace is: its id, and the key. `operator` is the operator's key.
    pub(crate) async fn make_key(
        &self,
        operator: &str,
        name: &str,
        namespace: &str,
    ) -> Result<(String, String), UpstreamError> {
        const ASKED: &str = "making an API key for the scenario's namespace (it takes the operator's key)";
        let body = json!({"name": name, "teamName": namespace});
        let answer = self.call(Method::POST, "/api-keys", operator, Some(&body), ASKED).await?;
        let text = |member: &str| answer.get(member).and_then(Value::as_str).map(str::to_owned);
        text("id").zip(text("key")).ok_or_else(|| UpstreamError::Refused {
            asked: ASKED,
            status: StatusCode::CREATED,
            message: "the answer has no id or no key".to_owned(),
        })
    }

    /// Removes a key; one that is gone already is no error.
    pub(crate) async fn remove_key(&self, operator: &str, id: &str) -> Result<(), UpstreamError> {
        let path = format!("/api-keys/{id}");
        match self.call(Method::DELETE, &path, operator, None, "removing the scenario's API key").await {
            Err(UpstreamError::Refused { status: StatusCode::NOT_FOUND, .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: Option<&Value>,
        asked: &'static str,
    ) -> Result<Value, UpstreamError> {
        let mut headers = HeaderMap::new();
        if let Ok(mut key) = HeaderValue::from_str(key) {
            key.set_sensitive(true);
            headers.insert("x-api-key", key);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let content = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let calling = async {
            let (answer, content) = self.send(method.clone(), path, headers, content).await?.into_parts();
            Ok((answer.status, Self::read(content).await?))
        };
        let (status, content) = tokio::time::timeout(CALL_LIMIT, calling)
            .await
            .map_err(|_| UpstreamError::Late { method, path: path.to_owned() })??;
        let value: Value = serde_json::from_slice(&content).unwrap_or_default();
        if status.is_success() {
            return Ok(value);
        }
        let message = value.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned();
        Err(UpstreamError::Refused { asked, status, message })
    }
}

/// TLS with the machine's certificates, which are read only where they are needed.
fn tls(needed: bool) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    if needed {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(
                "this machine has no certificates to check https with (package ca-certificates)".to_owned()
            );
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
