//! Answers to what the outside asks.

use std::time::Duration;

use lab::{Fault, FaultHandle};
use node_sim::NodeError;
use serde::Serialize;
use serde_json::Value;

use super::parts::Parts;
use super::{exports, memory};
use crate::protocol::{Refusal, Request};

/// The handles of the NFS server's faults begin here; the object store's have smaller numbers.
const NETWORK_FILE_SYSTEM_FAULTS: u64 = 1 << 32;

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
        Request::Heal(FaultHandle(id)) if id >= NETWORK_FILE_SYSTEM_FAULTS => {
            let id = nas_sim::FaultId(id - NETWORK_FILE_SYSTEM_FAULTS);
            value(parts.network_file_system.heal(id).map_err(refusal("NFS server"))?)
        }
        Request::Heal(FaultHandle(id)) => {
            value(parts.object_store.heal(oss_sim::FaultId(id)).map_err(refusal("object store"))?)
        }
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
            value(FaultHandle(id.0))
        }
        Fault::Nas(fault) => {
            let id = parts.network_file_system.inject(fault).map_err(refusal("NFS server"))?;
            value(FaultHandle(NETWORK_FILE_SYSTEM_FAULTS + id.0))
        }
        Fault::Kill(kill) => {
            let killed = parts.node.kill(&kill.namespace, &kill.pod, &kill.container).await;
            killed.map_err(not_found_or_failed)?;
            // A killed process can't be healed; no object-store fault has this number.
            value(FaultHandle(u64::MAX))
        }
    }
}

fn value(answer: impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(answer).map_err(refusal("control channel"))
}

/// What [`lab::Lab`] promises for a sandbox that isn't there.
fn not_found_or_failed(error: NodeError) -> Refusal {
    match error {
        NodeError::NoPod { namespace, pod } => Refusal::NotFound { name: format!("{namespace}/{pod}") },
        NodeError::NotRunning { namespace, pod, container } => {
            Refusal::NotFound { name: format!("{namespace}/{pod}, running container {container:?}") }
        }
        error => refusal("node")(error),
    }
}

fn refusal<E: std::error::Error>(part: &'static str) -> impl Fn(E) -> Refusal {
    move |error| Refusal::Failed { part: part.to_owned(), reason: crate::chain(&error) }
}
