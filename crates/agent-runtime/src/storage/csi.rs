//! Calls to a driver in the CSI sidecar.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use csi_api::node_client::NodeClient;
use csi_api::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest};
use hyper_util::rt::TokioIo;
use journal::secrecy::Concealer;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::service_fn;

use super::Surroundings;
use super::problem::{Problem, Reason};

/// The pause between two looks for a socket that isn't there.
const INTERVAL: Duration = Duration::from_millis(20);

/// The way to one driver, for one call.
#[derive(Debug)]
pub(super) struct Driver {
    socket: PathBuf,
    deadline: Instant,
    limit: Duration,
}

impl Driver {
    /// The driver called `name`; the limit of the call begins now.
    pub(super) fn new(surroundings: &Surroundings, name: &str) -> Self {
        let limit = surroundings.call_limit;
        let socket = surroundings.sockets.join(name).join("csi.sock");
        Self { socket, deadline: Instant::now() + limit, limit }
    }

    /// Asks for a mount.
    pub(super) async fn publish(self, request: NodePublishVolumeRequest) -> Result<(), Problem> {
        let concealer = concealer(&request);
        let outcome = self.call(async |mut client| client.node_publish_volume(request).await.map(drop)).await;
        outcome.map_err(|failure| failure.into_problem("NodePublishVolume", &concealer))
    }

    /// Asks for an unmount; a volume the driver doesn't know is fine.
    pub(super) async fn unpublish(self, request: NodeUnpublishVolumeRequest) -> Result<(), Problem> {
        match self.call(async |mut client| client.node_unpublish_volume(request).await.map(drop)).await {
            Err(Failure::Answered(status)) if status.code() == Code::NotFound => Ok(()),
            outcome => {
                outcome.map_err(|failure| failure.into_problem("NodeUnpublishVolume", &Concealer::default()))
            }
        }
    }

    async fn call(
        self,
        call: impl AsyncFnOnce(NodeClient<Channel>) -> Result<(), Status>,
    ) -> Result<(), Failure> {
        let stream = self.connect().await?;
        let channel = channel(stream, &self.socket).await?;
        match timeout_at(self.deadline, call(NodeClient::new(channel))).await {
            Ok(outcome) => outcome.map_err(Failure::Answered),
            Err(_) => Err(Failure::Late { limit: self.limit, last: "the driver has not answered".into() }),
        }
    }

    /// Waits for the socket: right after the start of a pod the sidecar may not listen yet.
    async fn connect(&self) -> Result<UnixStream, Failure> {
        loop {
            let problem = match timeout_at(self.deadline, UnixStream::connect(&self.socket)).await {
                Ok(Ok(stream)) => return Ok(stream),
                // A socket that only root may use never becomes another one.
                Ok(Err(problem)) if problem.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(Failure::Denied(self.socket.clone()));
                }
                Ok(Err(problem)) => problem,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            if Instant::now() + INTERVAL >= self.deadline {
                let last = format!("cannot connect to {}: {problem}", self.socket.display());
                return Err(Failure::Late { limit: self.limit, last });
            }
            sleep(INTERVAL).await;
        }
    }
}

async fn channel(stream: UnixStream, socket: &Path) -> Result<Channel, Failure> {
    let mut stream = Some(stream);
    let connector = service_fn(move |_| {
        let stream = stream.take().map(TokioIo::new);
        async move { stream.ok_or_else(|| io::Error::other("the connection to the driver was closed")) }
    });
    // The address names nothing: the connector has the connection.
    let endpoint = Endpoint::from_static("http://csi.sock");
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|problem| Failure::Broken(format!("cannot talk to {}: {problem}", socket.display())))
}

enum Failure {
    Answered(Status),
    Broken(String),
    Denied(PathBuf),
    Late { limit: Duration, last: String },
}

impl Failure {
    fn into_problem(self, method: &str, concealer: &Concealer) -> Problem {
        let (reason, text) = match self {
            Self::Late { limit, last } => {
                (Reason::DeadlineExceeded, format!("no answer within {limit:?}: {last}"))
            }
            Self::Broken(text) => (Reason::Unavailable, text),
            Self::Denied(socket) => (
                Reason::Failed(Code::PermissionDenied),
                format!(
                    "PermissionDenied: operation not permitted: {} is for root, so the main container has to run as root",
                    socket.display()
                ),
            ),
            // The transport's own errors have a source; those that the driver sent have none.
            Self::Answered(status) if status.source().is_some() => {
                (Reason::Unavailable, "the connection to the driver broke off".to_owned())
            }
            Self::Answered(status) => {
                (reason_of(status.code()), format!("{:?}: {}", status.code(), status.message()))
            }
        };
        Problem::new(reason, format!("{method} failed: {}", without_keys(&concealer.conceal_text(&text))))
    }
}

fn reason_of(code: Code) -> Reason {
    match code {
        Code::DeadlineExceeded => Reason::DeadlineExceeded,
        Code::Unavailable => Reason::Unavailable,
        code => Reason::Failed(code),
    }
}

/// Knows the request's secrets.
fn concealer(request: &NodePublishVolumeRequest) -> Concealer {
    let mut concealer = Concealer::default();
    let attributes =
        request.volume_context.iter().filter(|(name, _)| name.to_ascii_lowercase().starts_with("ak"));
    for value in request.secrets.values().chain(attributes.map(|(_, value)| value)) {
        concealer.add(value.trim());
    }
    concealer
}

/// `text` without the values of `access_key…=` options that a driver may quote.
fn without_keys(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("access_key") {
        let (before, option) = rest.split_at(start);
        clean.push_str(before);
        let end = option.find([',', ' ', '"', '\'', '\n', ']', ')']).unwrap_or(option.len());
        let (option, after) = option.split_at(end);
        match option.split_once('=') {
            Some((name, _)) => clean.extend([name, "=", journal::secrecy::REDACTED]),
            None => clean.push_str(option),
        }
        rest = after;
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("plain", "plain")]
    #[case(
        "-o access_key_id=a,access_key_secret=b,ro",
        "-o access_key_id=[redacted],access_key_secret=[redacted],ro"
    )]
    #[case("bad access_key", "bad access_key")]
    #[case("(access_keys=x y)", "(access_keys=[redacted] y)")]
    fn quoted_keys_are_taken_out(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(without_keys(text), expected);
    }
}
