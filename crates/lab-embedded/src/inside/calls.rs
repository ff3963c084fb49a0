//! Answers to what the outside asks.

use std::time::Duration;

use lab::{CapacityFault, Fault, FaultHandle};
use node_sim::NodeError;
use serde::Serialize;
use serde_json::Value;

use super::faults::Placed;
use super::parts::Parts;
use super::{exports, memory};
use crate::protocol::{Refusal, Request};

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
        Request::Heal(handle) => heal(parts, handle),
        Request::Exports(call) => {
            let server = parts.network_file_system.clone();
            let done = tokio::task::spawn_blocking(move || exports::answer(&server, &call)).await;
            value(done.map_err(refusal("NFS server"))?)
        }
        Request::Leftovers => value(parts.node.leftovers().await.map_err(refusal("node"))?),
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
            value(parts.faults.enter(Placed::NetworkFileSystem(id)))
        }
        Fault::Kill(kill) => {
            let killed = parts.node.kill(&kill.namespace, &kill.pod, &kill.container).await;
            killed.map_err(not_found_or_failed)?;
            value(parts.faults.enter(Placed::Past))
        }
        Fault::Csi(fault) => value(parts.faults.inject_csi(&fault).map_err(refusal("fault of CSI calls"))?),
    }
}

fn heal(parts: &Parts, handle: FaultHandle) -> Result<Value, Refusal> {
    match parts.faults.leave(handle) {
        Some(Placed::ObjectStore(id)) => value(parts.object_store.heal(id).map_err(refusal("object store"))?),
        Some(Placed::NetworkFileSystem(id)) => {
            value(parts.network_file_system.heal(id).map_err(refusal("NFS server"))?)
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
