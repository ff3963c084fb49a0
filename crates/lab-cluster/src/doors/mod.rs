//! The two doors: servers on 127.0.0.1 before the Kubernetes API and before the E2B API, which speak the file's names
//! on one side and the cluster's on the other.

mod body;
mod e2b;
mod fields;
mod kubernetes;
mod path;
mod rules;

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use lab::LabError;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub(crate) use e2b::E2bDoor;
pub(crate) use kubernetes::KubernetesDoor;

/// A door that is open until it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A listener on 127.0.0.1.
pub(crate) async fn listen() -> Result<(TcpListener, SocketAddr), LabError> {
    let failed = |source| LabError::Io { action: "open a listening socket on 127.0.0.1".to_owned(), source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Serves `router` at the listener.
pub(crate) fn open(listener: TcpListener, address: SocketAddr, router: Router) -> Open {
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(%error, "a door of the lab is shut");
        }
    });
    Open { address, task: task.abort_handle() }
}
