//! Sends requests: signature, connections, limits, repetition.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clock::SharedClock;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout};

use super::payload::{Payload, Sending};
use super::sign::{self, Credentials, Subject};
use super::{Endpoint, S3Error, xml};

/// An answer longer than this isn't read as a document.
const LONGEST_DOCUMENT: usize = 16 << 20;

/// First pause before a repetition; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause before a repetition.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a request may take before it counts as failed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To connect.
    pub connect: Duration,
    /// From the request to the head of its answer, and between two pieces of the answer's body.
    pub answer: Duration,
    /// One operation with all its repetitions.
    pub operation: Duration,
    /// Attempts at most, at least one.
    pub attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(20),
            operation: Duration::from_secs(60),
            attempts: 5,
        }
    }
}

/// How a bucket is spoken to.
#[derive(Clone, Debug)]
pub struct BucketOptions {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The AccessKey that signs.
    pub credentials: Credentials,
    /// Headers for every new object, such as server-side encryption.
    pub object_headers: Vec<(HeaderName, HeaderValue)>,
    /// Limits of every request.
    pub limits: Limits,
    /// Time for signatures.
    pub clock: SharedClock,
}

/// A client for one bucket; clones share its connections.
#[derive(Clone, Debug)]
pub struct Bucket {
    shared: Arc<Shared>,
    limits: Limits,
}

#[derive(Debug)]
struct Shared {
    options: BucketOptions,
    client: Client<HttpsConnector<HttpConnector>, Sending>,
}

/// One request before it is signed.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) operation: &'static str,
    pub(super) method: Method,
    pub(super) key: &'a str,
    /// Unescaped parameters in the order of their names.
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) payload: Payload,
}

impl<'a> Call<'a> {
    pub(super) fn new(operation: &'static str, method: Method, key: &'a str) -> Self {
        Self { operation, method, key, query: Vec::new(), headers: Vec::new(), payload: Payload::default() }
    }

    /// Adds a header; a value that no header can carry is an error.
    pub(super) fn header(&mut self, name: HeaderName, value: &str) -> Result<(), S3Error> {
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| S3Error::Malformed {
            operation: self.operation,
            reason: format!("header {name} can't carry its value"),
        })?;
        self.headers.push((name, value));
        Ok(())
    }
}

impl Bucket {
    /// A client with `options`. No connection is made yet.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new(options: BucketOptions) -> Result<Self, S3Error> {
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(options.limits.connect));
        http.set_nodelay(true);
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(options.endpoint.is_https())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(16)
            .build(connector);
        let limits = options.limits;
        Ok(Self { shared: Arc::new(Shared { options, client }), limits })
    }

    /// Where the bucket is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.options.endpoint
    }

    /// The same bucket and connections with other limits.
    #[must_use]
    pub fn with_limits(&self, limits: Limits) -> Self {
        Self { shared: Arc::clone(&self.shared), limits }
    }

    /// The limits of every request.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn object_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.shared.options.object_headers
    }

    /// Sends `call`, again if need be, until an answer with a status below 300 is there.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Response<Incoming>, S3Error> {
        let limits = self.limits();
        let deadline = Instant::now() + limits.operation;
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let error = match self.attempt(call).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if !error.is_transient() || attempt >= limits.attempts || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(attempt, %error, "trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            attempt += 1;
        }
    }

    /// Sends `call` and reads its answer as a document. A 200 that carries an error document, as slow operations
    /// answer, is an error.
    pub(super) async fn send_for_document(&self, call: &Call<'_>) -> Result<xml::Element, S3Error> {
        let document = self.document(call.operation, self.send(call).await?).await?;
        let document = xml::parse(call.operation, &document)?;
        if document.name == "Error" {
            let code = document.text_of("Code").unwrap_or_default().to_owned();
            let status = if code == "PreconditionFailed" { 412 } else { 500 };
            return Err(S3Error::Answer {
                operation: call.operation,
                subject: call.key.to_owned(),
                status,
                code,
            });
        }
        Ok(document)
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Response<Incoming>, S3Error> {
        let limit = self.limits().answer;
        let request = self.sign(call)?;
        let response = match timeout(limit, self.shared.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.network_error(&error)),
            Err(_) => {
                return Err(S3Error::TimedOut { host: self.host(), operation: call.operation, limit });
            }
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let code = if call.method == Method::HEAD {
            String::new()
        } else {
            let document = self.document(call.operation, response).await.unwrap_or_default();
            xml::parse(call.operation, &document)
                .ok()
                .and_then(|document| document.text_of("Code").map(str::to_owned))
                .filter(|code| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()))
                .unwrap_or_default()
        };
        let subject = if call.key.is_empty() { self.endpoint().bucket() } else { call.key };
        Err(S3Error::Answer {
            operation: call.operation,
            subject: subject.to_owned(),
            status: status.as_u16(),
            code,
        })
    }

    fn sign(&self, call: &Call<'_>) -> Result<Request<Sending>, S3Error> {
        let options = &self.shared.options;
        let malformed = |reason: String| S3Error::Malformed { operation: call.operation, reason };
        let path = sign::escape(&options.endpoint.path(call.key), true);
        let query = call
            .query
            .iter()
            .map(|(name, value)| format!("{name}={}", sign::escape(value, false)))
            .collect::<Vec<_>>()
            .join("&");
        let time = options.clock.now();
        let mut headers: HeaderMap = call.headers.iter().cloned().collect();
        for (name, value) in [
            (HOST, options.endpoint.authority()),
            (HeaderName::from_static("x-amz-content-sha256"), sign::UNSIGNED),
            (HeaderName::from_static("x-amz-date"), &sign::date_header(time)),
        ] {
            headers.insert(name, HeaderValue::from_str(value).map_err(|error| malformed(error.to_string()))?);
        }
        let subject = Subject {
            method: &call.method,
            path: &path,
            query: &query,
            region: options.endpoint.region(),
            time,
        };
        let mut authorization =
            HeaderValue::from_str(&sign::authorization(&options.credentials, &subject, &headers))
                .map_err(|_| malformed("the AccessKey can't be sent in a header".into()))?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        if matches!(call.method, Method::PUT | Method::POST) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(call.payload.length()));
        }
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let uri = Uri::builder()
            .scheme(options.endpoint.scheme().clone())
            .authority(options.endpoint.authority())
            .path_and_query(target)
            .build()
            .map_err(|error| malformed(error.to_string()))?;
        let mut request = Request::new(call.payload.body());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The whole body of `response`, which is a short document.
    pub(super) async fn document(
        &self,
        operation: &'static str,
        response: Response<Incoming>,
    ) -> Result<Bytes, S3Error> {
        let mut body = response.into_body();
        let mut document = BytesMut::new();
        while let Some(data) = self.next_data(operation, &mut body).await? {
            if document.len() + data.len() > LONGEST_DOCUMENT {
                return Err(S3Error::Malformed { operation, reason: "document too long".into() });
            }
            document.extend_from_slice(&data);
        }
        Ok(document.freeze())
    }

    /// The next piece of `body`, or nothing at its end.
    pub(super) async fn next_data(
        &self,
        operation: &'static str,
        body: &mut Incoming,
    ) -> Result<Option<Bytes>, S3Error> {
        let limit = self.limits().answer;
        loop {
            match timeout(limit, body.frame()).await {
                Err(_) => return Err(S3Error::TimedOut { host: self.host(), operation, limit }),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    return Err(S3Error::Broken { host: self.host(), reason: error.to_string() });
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    fn host(&self) -> String {
        self.endpoint().authority().to_owned()
    }

    fn network_error(&self, error: &hyper_util::client::legacy::Error) -> S3Error {
        let host = self.host();
        let mut reason = error.to_string();
        let mut source = error.source();
        let mut kind = None;
        while let Some(cause) = source {
            reason = cause.to_string();
            kind = kind.or_else(|| cause.downcast_ref::<io::Error>().map(io::Error::kind));
            source = cause.source();
        }
        let chain = format!("{error:?}");
        match kind {
            _ if error.is_connect() && chain.contains("dns error") => S3Error::Unresolved { host },
            Some(io::ErrorKind::ConnectionRefused) => S3Error::Refused { host },
            // How a connection fails that the pod's network policies refuse, or that has no route.
            Some(
                io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::PermissionDenied,
            ) if error.is_connect() => S3Error::Unroutable { host, reason },
            Some(io::ErrorKind::TimedOut) if error.is_connect() => {
                S3Error::TimedOut { host, operation: "connect", limit: self.limits().connect }
            }
            _ => S3Error::Broken { host, reason },
        }
    }
}

/// TLS with the machine's roots; none are loaded where no TLS is spoken.
fn tls(needed: bool) -> Result<rustls::ClientConfig, S3Error> {
    let mut roots = rustls::RootCertStore::empty();
    if needed {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a root certificate can't be read");
        }
        roots.add_parsable_certificates(found.certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| S3Error::Malformed { operation: "TLS set-up", reason: error.to_string() })?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
