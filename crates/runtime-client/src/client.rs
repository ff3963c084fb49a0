//! Calls to the runtime inside a sandbox: where it listens and one exchange (`storage.md` §3.2).
//!
//! The runtime listens in plain text on 49983, or, when the Sandbox says so, on a TLS port with certificates on both
//! sides. A Sandbox that announces TLS is never talked to in plain text.

use std::time::Duration;

use bytes::Bytes;
use contract::crd::Sandbox;
use contract::errors::{Code, Problem};
use contract::names::{ENVD_PORT, annotations};
use contract::state;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, connect::Connect};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::tls::{RuntimeCertificates, RuntimeSetupError, TlsConnector};

/// The longest answer read from a runtime, in bytes (`storage.md` §1.9).
const LONGEST_ANSWER: usize = 1024 * 1024;
/// Idle connections to runtimes are dropped after this time.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for a TCP connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Where a sandbox's runtime listens.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Scheme and authority, such as `http://10.0.0.7:49983`.
    pub(crate) base: String,
    pub(crate) tls: bool,
}

/// What a runtime answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body, at most 1 MiB.
    pub body: Bytes,
}

/// Why there is no answer. Display never shows the request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The limit of the call passed.
    #[error("the runtime did not answer within {0:?}")]
    TimedOut(Duration),
    /// No connection.
    #[error("the runtime cannot be reached")]
    Unreachable,
    /// The connection ended before the answer did.
    #[error("the connection to the runtime broke before the answer was complete")]
    Broken,
    /// A token or path that can't be sent.
    #[error("the request to the runtime cannot be built")]
    Unbuildable,
}

/// Talks to runtimes and keeps connections to them warm.
#[derive(Clone, Debug)]
pub struct RuntimeClient {
    plain: Client<HttpConnector, Full<Bytes>>,
    tls: Option<Client<TlsConnector, Full<Bytes>>>,
}

impl RuntimeClient {
    /// A client; without `certificates` it can't talk to runtimes that serve TLS.
    ///
    /// # Errors
    /// Certificates that can't be used.
    pub fn new(certificates: Option<&RuntimeCertificates>) -> Result<Self, RuntimeSetupError> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        let tls =
            certificates.map(|certificates| TlsConnector::new(tcp.clone(), certificates)).transpose()?;
        Ok(Self { plain: pooled(tcp), tls: tls.map(pooled) })
    }

    /// Where the runtime of `sandbox` listens (`storage.md` §3.2).
    ///
    /// # Errors
    /// A TLS port without certificates here, or an unreadable one: never a reason for plain text. No pod address.
    pub fn endpoint(&self, sandbox: &Sandbox) -> Result<Endpoint, Problem> {
        let ip = state::pod_ip(sandbox);
        if let Some(port) = annotation(sandbox, annotations::RUNTIME_TLS_PORT) {
            return self.tls_endpoint(ip, port);
        }
        let explicit = annotation(sandbox, annotations::RUNTIME_URL)
            .or_else(|| annotation(sandbox, annotations::ENVD_URL))
            .filter(|url| !url.is_empty());
        match (explicit, ip) {
            (Some(url), _) if url.starts_with("http://") => {
                Ok(Endpoint { base: url.trim_end_matches('/').to_owned(), tls: false })
            }
            (Some(_), _) => {
                let message = format!("annotation {} is not an http:// address", annotations::RUNTIME_URL);
                Err(Problem::new(Code::RuntimeInitFailed, message))
            }
            (None, Some(ip)) => {
                Ok(Endpoint { base: format!("http://{}", authority(ip, ENVD_PORT)), tls: false })
            }
            (None, None) => Err(no_address()),
        }
    }

    fn tls_endpoint(&self, ip: Option<&str>, port: &str) -> Result<Endpoint, Problem> {
        let refused = |reason: &str| {
            Problem::new(
                Code::RuntimeInitFailed,
                format!(
                    "the sandbox's runtime serves TLS ({} is {port:?}), {reason}",
                    annotations::RUNTIME_TLS_PORT
                ),
            )
        };
        let port = port.parse().ok().filter(|port| *port > 0);
        let port: u16 = port.ok_or_else(|| refused("but that is no port"))?;
        if self.tls.is_none() {
            return Err(refused(
                "but there are no client certificates here; it will not talk to it in plain text",
            ));
        }
        let ip = ip.ok_or_else(no_address)?;
        Ok(Endpoint { base: format!("https://{}", authority(ip, port)), tls: true })
    }

    /// One call; `limit` covers all of it.
    ///
    /// # Errors
    /// No answer, whatever the reason. An answer of any status is none.
    pub async fn call(
        &self,
        method: Method,
        endpoint: &Endpoint,
        path: &str,
        token: Option<&str>,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        let request = Request::builder().method(method).header(header::CONTENT_TYPE, "application/json");
        self.send(request, endpoint, path, token, body, limit).await
    }

    /// The same for a request with method and headers.
    pub(crate) async fn send(
        &self,
        request: http::request::Builder,
        endpoint: &Endpoint,
        path: &str,
        token: Option<&str>,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        let mut request = request.uri(format!("{}{path}", endpoint.base));
        if endpoint.tls {
            request = request.header(header::HOST, contract::names::RUNTIME_SERVER_NAME);
        }
        if let Some(token) = token {
            request = request.header("x-access-token", token);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|_| CallError::Unbuildable)?;
        let exchange = async {
            match &self.tls {
                Some(client) if endpoint.tls => exchange(client, request).await,
                _ => exchange(&self.plain, request).await,
            }
        };
        tokio::time::timeout(limit, exchange).await.map_err(|_| CallError::TimedOut(limit))?
    }
}

fn pooled<C: Connect + Clone>(connector: C) -> Client<C, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_LIMIT)
        .build(connector)
}

async fn exchange<C: Connect + Clone + Send + Sync + 'static>(
    client: &Client<C, Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, CallError> {
    let answer = client.request(request).await.map_err(|error| {
        tracing::debug!(%error, "call to a runtime failed");
        if error.is_connect() { CallError::Unreachable } else { CallError::Broken }
    })?;
    let status = answer.status();
    let body =
        Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await.map_err(|_| CallError::Broken)?;
    Ok(Answer { status, body: body.to_bytes() })
}

fn annotation<'a>(sandbox: &'a Sandbox, key: &str) -> Option<&'a str> {
    sandbox.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn no_address() -> Problem {
    Problem::new(Code::SandboxNotReady, "the sandbox's pod has no address")
}

fn authority(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use contract::crd::{PodInfo, SandboxSpec, SandboxStatus};
    use kube::ResourceExt as _;
    use rstest::rstest;

    use super::*;

    fn sandbox(ip: Option<&str>, notes: &[(&str, &str)]) -> Sandbox {
        let mut sandbox = Sandbox::new("x", SandboxSpec::default());
        let pod_info = PodInfo { pod_ip: ip.map(str::to_owned), ..PodInfo::default() };
        sandbox.status = Some(SandboxStatus { pod_info: Some(pod_info), ..SandboxStatus::default() });
        sandbox
            .annotations_mut()
            .extend(notes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        sandbox
    }

    #[rstest]
    #[case(Some("10.0.0.7"), &[], Some("http://10.0.0.7:49983"))]
    #[case(Some("fd00::7"), &[], Some("http://[fd00::7]:49983"))]
    #[case(Some("10.0.0.7"), &[(annotations::RUNTIME_URL, "http://10.0.0.9:1/")], Some("http://10.0.0.9:1"))]
    #[case(Some("10.0.0.7"), &[(annotations::ENVD_URL, "http://10.0.0.8:2")], Some("http://10.0.0.8:2"))]
    #[case(None, &[], None)]
    #[case(Some("10.0.0.7"), &[(annotations::RUNTIME_URL, "https://10.0.0.9:1")], None)]
    #[case(Some("10.0.0.7"), &[(annotations::RUNTIME_TLS_PORT, "49984")], None)]
    #[case(Some("10.0.0.7"), &[(annotations::RUNTIME_TLS_PORT, "0")], None)]
    #[case(Some("10.0.0.7"), &[(annotations::RUNTIME_TLS_PORT, "")], None)]
    fn where_a_runtime_listens(
        #[case] ip: Option<&str>,
        #[case] notes: &[(&str, &str)],
        #[case] base: Option<&str>,
    ) {
        let client = RuntimeClient::new(None).expect("no certificates to refuse");
        let endpoint = client.endpoint(&sandbox(ip, notes)).ok();
        assert_eq!(endpoint.as_ref().map(|endpoint| endpoint.base.as_str()), base);
        assert!(endpoint.is_none_or(|endpoint| !endpoint.tls));
    }
}
