//! Answers to what the outside asks.

use std::time::Duration;

use journal::source;
use lab::{CapacityFault, Fault, FaultHandle, KillFault};
use node_sim::NodeError;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::faults::Placed;
use super::parts::{Failed, NETWORK_FILE_SYSTEM_PORT, Parts};
use super::{exports, memory};
use crate::protocol::{Refusal, Request};

/// How long a server may take to shut or open its port, and how often it is looked.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// Does what `request` asks.
pub(crate) async fn answer(parts: &Parts, request: Request) -> Result<Value, Refusal> {
    match request {
        Request::Mounts { namespace, sandbox } => {
            let mounts = parts.node.mounts(&namespace, &sandbox, None).await;
            value(mounts.map_err(not_found_or_failed)?)
        }
        Request::Advance(milliseconds) => {
            parts.clock.advance(Duration::from_millis(milliseconds));
            value(())
        }
        Request::Inject(fault) => inject(parts, fault).await,
        Request::Heal(handle) => heal(parts, handle).await,
        Request::Exports(call) => {
            let server = parts.network_file_system.clone();
            let done = tokio::task::spawn_blocking(move || exports::answer(&server, &call)).await;
            value(done.map_err(refusal("NFS server"))?)
        }
        Request::Leftovers => value(parts.node.leftovers().await.map_err(refusal("node"))?),
        Request::Entries => value(parts.journal.len() as u64),
        Request::Memory => {
            let state = parts.state.clone();
            let measured = tokio::task::spawn_blocking(move || memory::measure(&state)).await;
            let measured = measured.map_err(refusal("lab"))?;
            value(measured.map_err(refusal("lab"))?)
        }
    }
}

async fn inject(parts: &Parts, fault: Fault) -> Result<Value, Refusal> {
    match fault {
        Fault::Oss(fault) => {
            let id = parts.object_store.inject(fault).map_err(refusal("object store"))?;
            parts.object_store.settled().await;
            value(parts.faults.enter(Placed::ObjectStore(id)))
        }
        Fault::OssCapacity(CapacityFault { bytes }) => {
            parts.object_store.set_capacity(Some(bytes));
            let handle = parts.faults.enter(Placed::Capacity);
            parts.faults.tell_capacity(handle, Some(bytes));
            value(handle)
        }
        Fault::Nas(fault) => {
            let id = parts.network_file_system.inject(fault).map_err(refusal("NFS server"))?;
            until_nfs_server_settles(parts).await?;
            value(parts.faults.enter(Placed::NetworkFileSystem(id)))
        }
        Fault::Kill(KillFault::Container { namespace, pod, container }) => {
            let killed = parts.node.kill(&namespace, &pod, &container).await;
            killed.map_err(not_found_or_failed)?;
            let subject = format!("Pod/{namespace}/{pod}/{container}");
            let kill = KillFault::Container { namespace, pod, container };
            parts.journal.record(source::FAULT, "injected", &subject, json!({"fault": {"kill": kill}}));
            value(parts.faults.enter(Placed::Past))
        }
        Fault::Kill(KillFault::Component(component)) => {
            let subject = format!("Component/{component}");
            let kill = KillFault::Component(component);
            parts.journal.record(source::FAULT, "injected", &subject, json!({"fault": {"kill": kill}}));
            let killed = parts.components.kill(component).await;
            killed.map_err(|Failed { part, reason }| Refusal::Failed { part: part.to_owned(), reason })?;
            value(parts.faults.enter(Placed::Past))
        }
        Fault::Csi(fault) => value(parts.faults.inject_csi(&fault).map_err(refusal("fault of CSI calls"))?),
    }
}

/// Returns once a server that was gone takes connections again.
async fn heal(parts: &Parts, handle: FaultHandle) -> Result<Value, Refusal> {
    match parts.faults.leave(handle) {
        Some(Placed::ObjectStore(id)) => {
            parts.object_store.heal(id).map_err(refusal("object store"))?;
            parts.object_store.settled().await;
            value(())
        }
        Some(Placed::NetworkFileSystem(id)) => {
            parts.network_file_system.heal(id).map_err(refusal("NFS server"))?;
            until_nfs_server_settles(parts).await?;
            value(())
        }
        Some(Placed::Capacity) => {
            parts.object_store.set_capacity(None);
            parts.faults.tell_capacity(handle, None);
            value(())
        }
        Some(Placed::Csi(file)) => {
            value(parts.faults.heal_csi(handle, &file).map_err(refusal("fault of CSI calls"))?)
        }
        Some(Placed::Past) => Err(Refusal::Failed {
            part: "fault".to_owned(),
            reason: "a process that was killed can't be healed".to_owned(),
        }),
        None => Err(Refusal::NotFound { what: "fault".to_owned(), name: handle.0.to_string() }),
    }
}

/// Waits until pods can connect to the NFS server, or can't any more when it is gone: its port takes a moment.
async fn until_nfs_server_settles(parts: &Parts) -> Result<(), Refusal> {
    let wanted = !parts.network_file_system.is_gone();
    let address = (parts.node.gateway(), NETWORK_FILE_SYSTEM_PORT);
    let settled = async {
        while TcpStream::connect(address).await.is_ok() != wanted {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(SETTLE_LIMIT, settled).await.map_err(|_| Refusal::Failed {
        part: "NFS server".to_owned(),
        reason: format!("its port was not {} within {SETTLE_LIMIT:?}", if wanted { "open" } else { "shut" }),
    })
}

fn value(answer: impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(answer).map_err(refusal("control channel"))
}

/// What [`lab::Lab`] promises for a sandbox that isn't there.
fn not_found_or_failed(error: NodeError) -> Refusal {
    match error {
        NodeError::NoPod { namespace, pod } => sandbox_not_found(format!("{namespace}/{pod}")),
        NodeError::NotRunning { namespace, pod, container } => {
            sandbox_not_found(format!("{namespace}/{pod}, running container {container:?}"))
        }
        error => refusal("node")(error),
    }
}

fn sandbox_not_found(name: String) -> Refusal {
    Refusal::NotFound { what: "sandbox".to_owned(), name }
}

fn refusal<E: std::error::Error>(part: &'static str) -> impl Fn(E) -> Refusal {
    move |error| Refusal::Failed { part: part.to_owned(), reason: crate::chain(&error) }
}
