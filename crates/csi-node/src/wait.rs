//! Waits until every driver's socket answers: the startup probe of the sidecar.

use std::path::{Path, PathBuf};
use std::time::Duration;

use csi_api::ProbeRequest;
use csi_api::identity_client::IdentityClient;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
use tonic::transport::Endpoint;

use crate::serve::socket_path;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// One try.
const ATTEMPT: Duration = Duration::from_secs(2);

/// A driver that isn't ready in time.
#[derive(Debug, Error)]
#[error("driver {driver} does not answer at {socket} within {deadline:?}: {last}")]
pub struct WaitError {
    driver: String,
    socket: PathBuf,
    deadline: Duration,
    last: String,
}

/// Returns when the socket of each of `drivers` below `directory` answers Probe with ready.
///
/// # Errors
/// When one doesn't within `deadline`; the text says what it did last.
pub async fn wait(directory: &Path, drivers: &[String], deadline: Duration) -> Result<(), WaitError> {
    let begun = Instant::now();
    for driver in drivers {
        let socket = socket_path(directory, driver);
        loop {
            let last = match timeout(ATTEMPT, probe(&socket)).await {
                Ok(Ok(())) => break,
                Ok(Err(last)) => last,
                Err(_) => format!("no answer within {ATTEMPT:?}"),
            };
            if begun.elapsed() + PAUSE >= deadline {
                return Err(WaitError { driver: driver.clone(), socket, deadline, last });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

async fn probe(socket: &Path) -> Result<(), String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
    let mut stream = Some(stream);
    // The address is never resolved: the connector hands out the socket.
    let channel = Endpoint::from_static("http://csi.sock")
        .connect_with_connector(tower::service_fn(move |_| {
            let stream = stream.take().map(TokioIo::new);
            async move { stream.ok_or_else(|| std::io::Error::other("connected already")) }
        }))
        .await
        .map_err(|error| error.to_string())?;
    let answer = IdentityClient::new(channel).probe(ProbeRequest {}).await;
    match answer.map(|answer| answer.into_inner().ready) {
        Ok(Some(true) | None) => Ok(()),
        Ok(Some(false)) => Err("not ready yet".to_owned()),
        Err(status) => Err(status.message().to_owned()),
    }
}
