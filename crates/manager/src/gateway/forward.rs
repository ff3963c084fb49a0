//! One request to one port, streamed in both directions without buffering.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::answers;
use super::severing::{Paused, Severable, Severed};

/// Longest wait for a TCP connection to a pod. Pods are one hop away: who hasn't answered by then doesn't listen.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Idle connections to pods are dropped after this time; a pod may be gone by then.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Headers that belong to one connection and are never passed on (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// Sends requests to pods and keeps connections to them warm.
#[derive(Clone, Debug)]
pub(crate) struct Forwarder {
    client: Client<HttpConnector, Body>,
}

impl Default for Forwarder {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_LIMIT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .build(connector);
        Self { client }
    }
}

/// Where a request goes, and under which names failures are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// The sandbox's id as the request named it.
    pub id: &'a str,
    /// The address of its pod.
    pub address: &'a str,
    /// The port inside.
    pub port: u16,
    /// Path and query as the program inside shall see them.
    pub path_and_query: &'a str,
}

impl Forwarder {
    /// Forwards `request` and answers what the program inside answers, or a 502 in the gateway's own words.
    /// Everything breaks off when `severed` completes.
    pub(crate) async fn forward(
        &self,
        target: Target<'_>,
        request: Request,
        mut severed: Severed,
    ) -> Response {
        let Ok(uri) = pod_uri(target.address, target.port, target.path_and_query) else {
            return answers::sandbox_not_found(target.id);
        };
        let (mut parts, body) = request.into_parts();
        let upgrade = upgrade_protocol(&parts.headers);
        let from_client = parts.extensions.remove::<OnUpgrade>();
        strip_hop_by_hop(&mut parts.headers);
        if let Some(protocol) = &upgrade {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(header::UPGRADE, protocol.clone());
        }
        parts.uri = uri;
        parts.version = http::Version::HTTP_11;
        parts.extensions = http::Extensions::new();
        let answer = tokio::select! {
            biased;
            answer = self.client.request(Request::from_parts(parts, body)) => answer,
            () = &mut severed => return answers::sandbox_not_found(target.id),
        };
        match answer {
            Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                switch(answer, from_client, target, severed)
            }
            Ok(answer) => pass_on(answer, severed),
            Err(error) if error.is_connect() => answers::port_not_open(target.id, target.port),
            Err(error) => {
                tracing::debug!(%error, id = target.id, port = target.port, "connection to the sandbox broke");
                answers::connection_lost(target.id, target.port)
            }
        }
    }
}

/// The URI of a path on a pod's port.
pub(crate) fn pod_uri(address: &str, port: u16, path_and_query: &str) -> Result<http::Uri, http::Error> {
    let authority =
        if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
    http::Uri::builder().scheme("http").authority(authority).path_and_query(path_and_query).build()
}

fn pass_on(answer: hyper::Response<hyper::body::Incoming>, severed: Severed) -> Response {
    let (mut parts, body) = answer.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    Response::from_parts(parts, Body::new(Severable::new(body, severed)))
}

/// Answers 101 and joins both connections until one side closes.
fn switch(
    mut answer: hyper::Response<hyper::body::Incoming>,
    from_client: Option<OnUpgrade>,
    target: Target<'_>,
    severed: Severed,
) -> Response {
    let Some(from_client) = from_client else {
        return answers::connection_lost(target.id, target.port);
    };
    let from_pod = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        let joined = async {
            let (client, pod) = futures::try_join!(from_client, from_pod)?;
            let (mut client, mut pod) = (TokioIo::new(client), TokioIo::new(pod));
            tokio::io::copy_bidirectional(&mut client, &mut pod).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        let outcome = tokio::select! {
            biased;
            outcome = joined => outcome,
            () = severed => Err(Paused.into()),
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "upgraded connection ended");
        }
    });
    let (parts, _) = answer.into_parts();
    let mut response = parts.status.into_response();
    *response.headers_mut() = parts.headers;
    response
}

fn upgrade_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    if wanted { headers.get(header::UPGRADE).cloned() } else { None }
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| token.trim().parse().ok())
        .collect();
    for name in listed.iter().chain(&HOP_BY_HOP).chain(&[header::CONNECTION, header::UPGRADE]) {
        headers.remove(name);
    }
}
