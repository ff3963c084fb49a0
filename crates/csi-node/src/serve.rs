//! Serves the drivers' sockets until the process is told to end.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use csi_api::identity_server::IdentityServer;
use csi_api::node_server::NodeServer;
use futures::{Stream, StreamExt as _};
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::driver::Driver;
use crate::faults::{CuttableStream, Faults, FaultyNode};
use crate::identity::IdentityService;
use crate::mounts::{self, KernelMounts, MountTable};
use crate::node::{NodeOptions, NodeService};

/// How long running calls may take to end after the signal to end; saving and unmounting come after that, and a
/// pod's grace period is 30 s.
const CALLS_LIMIT: Duration = Duration::from_secs(2);

/// A server that could not be started or went down.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The socket can't be made.
    #[error("socket {path} can't be made")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Signals can't be received.
    #[error("signals can't be received")]
    Signals(#[source] io::Error),
    /// The server ended by itself.
    #[error("the server of {driver} ended by itself")]
    Ended {
        /// The driver.
        driver: String,
    },
    /// Volumes stay mounted.
    #[error("volumes stay mounted at the end: {0:?}")]
    LeftMounted(Vec<PathBuf>),
}

/// Where the socket of `driver` is.
pub fn socket_path(directory: &Path, driver: &str) -> PathBuf {
    directory.join(driver).join("csi.sock")
}

/// Serves `drivers` on sockets below `directory` until SIGTERM or SIGINT, then saves and unmounts everything. Calls go
/// wrong where one of `faults` strikes them.
///
/// # Errors
/// When a socket can't be made, or a volume can't be unmounted at the end.
pub async fn serve(
    directory: &Path,
    drivers: Vec<Arc<dyn Driver>>,
    node_id: &str,
    faults: Faults,
) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let (stop, _) = watch::channel(false);
    let mut servers = JoinSet::new();
    let mut services = Vec::new();
    for driver in drivers {
        let name = driver.name().to_owned();
        let service = NodeService::new(NodeOptions {
            driver,
            mounts: Arc::new(KernelMounts),
            node_id: node_id.to_owned(),
            search_path: std::env::var("PATH").unwrap_or_default(),
        });
        let path = socket_path(directory, &name);
        let listener = bind(&path).map_err(|source| ServeError::Socket { path: path.clone(), source })?;
        tracing::info!(driver = %name, socket = %path.display(), "serving");
        let mut stopped = stop.subscribe();
        let server = Server::builder()
            .add_service(IdentityServer::new(IdentityService::new(&name)))
            .add_service(NodeServer::new(FaultyNode::new(service.clone(), faults.clone(), &name)))
            .serve_with_incoming_shutdown(connections(listener), async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            });
        services.push(service);
        servers.spawn(async move { (name, path, server.await) });
    }
    let early = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        Some(Ok((driver, _, outcome))) = servers.join_next() => {
            tracing::error!(%driver, ?outcome, "a server ended by itself");
            Some(driver)
        }
    };
    tracing::info!("ending: saving and unmounting");
    stop.send_replace(true);
    let calls = async {
        while let Some(joined) = servers.join_next().await {
            if let Ok((_, path, _)) = joined {
                // The name of a socket outlives it.
                let _ = std::fs::remove_file(path);
            }
        }
    };
    if tokio::time::timeout(CALLS_LIMIT, calls).await.is_err() {
        tracing::warn!(limit = ?CALLS_LIMIT, "calls are still running");
    }
    let left = futures::future::join_all(services.iter().map(NodeService::unmount_all)).await.concat();
    let table: Arc<dyn MountTable> = Arc::new(KernelMounts);
    mounts::sweep(&table, Path::new(contract::names::MOUNT_ROOT)).await;
    match (early, left.is_empty()) {
        (_, false) => Err(ServeError::LeftMounted(left)),
        (Some(driver), true) => Err(ServeError::Ended { driver }),
        (None, true) => Ok(()),
    }
}

fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<CuttableStream>> {
    UnixListenerStream::new(listener).map(|accepted| accepted.map(CuttableStream::new))
}

/// A listener at `path`, in the place of a socket that an earlier process left there.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    UnixListener::bind(path)
}
