//! Asks whether anybody listens, before anything is mounted: a mount from a host that isn't there hangs.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use crate::driver::Refusal;

/// How long a server that refuses, or a name that doesn't resolve, is tried again: it may be starting.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a network that carries nothing to the server is tried again: routes and policies of a new pod may be on
/// their way, but no server's start heals it.
const NETWORK_PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// A server that can't be connected to.
#[derive(Debug, Error)]
#[error(
    "cannot connect to nas host {host}, port {port}: {reason}. Check that the mount target is in the cluster's VPC, and that network policies allow egress to it"
)]
pub(super) struct Unreachable {
    host: String,
    port: u16,
    reason: String,
}

impl From<Unreachable> for Refusal {
    fn from(error: Unreachable) -> Self {
        Self::new(Code::InvalidArgument, error.to_string())
    }
}

/// Returns when `host` accepts connections on `port`.
///
/// # Errors
/// When it doesn't within `limit`.
pub(super) async fn check(host: &str, port: u16, limit: Duration) -> Result<(), Unreachable> {
    let unreachable = |reason: String| Unreachable { host: host.to_owned(), port, reason };
    let begun = Instant::now();
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        match timeout(left, TcpStream::connect((host.trim_matches(['[', ']']), port))).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if begun.elapsed() + PAUSE >= patience(&error).min(limit) => {
                return Err(unreachable(error.to_string()));
            }
            Ok(Err(_)) => sleep(PAUSE).await,
            Err(_) => return Err(unreachable(format!("no answer within {limit:?}"))),
        }
    }
}

fn patience(error: &io::Error) -> Duration {
    match error.kind() {
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::PermissionDenied => NETWORK_PATIENCE,
        _ => PATIENCE,
    }
}
