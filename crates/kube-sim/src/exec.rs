//! Commands in containers (`kubectl exec`), over web sockets as API servers speak them: every message begins with the
//! number of its channel.
//!
//! Without terminals and standard input: what is asked is run to its end, then its output and its status are sent.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use futures::SinkExt as _;
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::request::Parts;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::error::{ApiError, ApiResult};
use crate::http::query::Query;
use crate::http::reply::{self, Reply};
use crate::server::Server;

/// The protocols that are spoken, the newest first.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const STANDARD_OUTPUT: u8 = 1;
const STANDARD_ERROR: u8 = 2;
const STATUS: u8 = 3;
/// How much of an output goes into one message.
const PIECE: usize = 32 * 1024;

/// What came of a command.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Finished {
    /// Its exit code; 128 and the signal's number for one that was killed.
    pub code: i32,
    /// What it wrote to standard output.
    pub output: Bytes,
    /// What it wrote to standard error.
    pub error: Bytes,
}

/// Why a command was not run, in the words that `kubectl exec` prints.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotRun(pub String);

/// Whoever runs pods and commands in them.
#[async_trait]
pub trait PodCommands: Debug + Send + Sync {
    /// Runs a command in a container to its end.
    ///
    /// # Errors
    /// The container doesn't run, or the command can't be started or takes too long.
    async fn run(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        command: Vec<String>,
    ) -> Result<Finished, NotRun>;
}

/// Answers a request to run a command, whose pod and container are there.
pub(crate) fn answer(
    server: &Server,
    request: &Parts,
    query: &Query,
    place: (String, String, String),
) -> ApiResult<Reply> {
    if query.flag("stdin") || query.flag("tty") {
        return Err(ApiError::bad_request("commands get neither a terminal nor a standard input here"));
    }
    let parameters = form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes());
    let command: Vec<String> =
        parameters.filter(|(name, _)| name == "command").map(|(_, value)| value.into_owned()).collect();
    if command.is_empty() {
        return Err(ApiError::bad_request("you must specify at least 1 command for the container"));
    }
    let commands = server
        .commands()
        .ok_or_else(|| ApiError::new(500, "InternalError", "no node is there that could run a command"))?;
    let (handshake, upgrade) = accept(request)?;
    tokio::spawn(async move {
        let (namespace, pod, container) = place;
        let outcome = commands.run(&namespace, &pod, &container, command).await;
        match upgrade.await {
            // A client that is gone needs no answer.
            Ok(connection) => drop(send(connection, outcome).await),
            Err(error) => tracing::debug!(%error, "a connection was not upgraded"),
        }
    });
    Ok(handshake)
}

/// The answer that changes the protocol, and the connection it is about.
fn accept(request: &Parts) -> ApiResult<(Reply, OnUpgrade)> {
    let text = |name| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wanted = text(UPGRADE).eq_ignore_ascii_case("websocket");
    let asked: Vec<_> = text(SEC_WEBSOCKET_PROTOCOL).split(',').map(str::trim).collect();
    let protocol = PROTOCOLS.into_iter().find(|protocol| asked.contains(protocol));
    let upgrade = request.extensions.get::<OnUpgrade>().cloned();
    let (true, Some(protocol), Some(upgrade)) = (wanted, protocol, upgrade) else {
        let message = format!("commands are run over WebSockets with {} only", PROTOCOLS.join(" or "));
        return Err(ApiError::bad_request(message));
    };
    let key = derive_accept_key(text(SEC_WEBSOCKET_KEY).as_bytes());
    let mut handshake = reply::whole(101, "", Vec::new());
    let headers = handshake.headers_mut();
    headers.clear();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    if let Ok(key) = HeaderValue::from_str(&key) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    }
    Ok((handshake, upgrade))
}

async fn send(
    connection: Upgraded,
    outcome: Result<Finished, NotRun>,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, None).await;
    let status = match outcome {
        Ok(finished) => {
            for (channel, bytes) in [(STANDARD_OUTPUT, &finished.output), (STANDARD_ERROR, &finished.error)] {
                for piece in bytes.chunks(PIECE) {
                    socket.feed(message(channel, piece)).await?;
                }
            }
            status_of(finished.code)
        }
        Err(error) => json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "message": error.to_string(), "code": 500,
        }),
    };
    socket.feed(message(STATUS, status.to_string().as_bytes())).await?;
    // clients take an end without a code for a failure
    socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await
}

fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut content = Vec::with_capacity(bytes.len() + 1);
    content.push(channel);
    content.extend_from_slice(bytes);
    Message::Binary(content.into())
}

fn status_of(code: i32) -> Value {
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}
