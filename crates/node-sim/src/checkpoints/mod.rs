//! Checkpoints: the node keeps the files that a container wrote, when a Checkpoint orders it, and starts containers with
//! them (`docs/design/0015-checkpoints.md`).
//!
//! ```text
//! Checkpoint, phase Creating, order for this node ──► store: a copy of the container's writable layers ──► outcome
//! pod with annotation restore-from ──► blueprint: the copies are lower layers of the container's root
//! Checkpoint, released by the controller ──► store: gone ──► the finalizer is taken off
//! ```
//! Volumes, mounts and the files of `/etc` that are the pod's own are mounts in a container's root, and so never in its
//! writable layers. Processes run on while the copy is made: a file that is being written may be in it half, as after a
//! loss of power.

mod store;
mod tree;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::checkpoint::{self, Order, Outcome, phases};
use contract::crd::Checkpoint;
use contract::names::{annotations, finalizers};
use futures::TryStreamExt as _;
use journal::source;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Error, Event, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::error_chain;
use crate::node::Shared;

pub(crate) use store::{Store, StoreError};

/// The wait before a write that failed is tried again, and before pods are looked at again.
const RETRY: Duration = Duration::from_millis(200);

/// What is being worked on: UID of the Checkpoint, and whether its files are being removed.
type Busy = Arc<Mutex<HashSet<(String, bool)>>>;

/// Follows the Checkpoints until the node ends.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let api: Api<Checkpoint> = Api::all(shared.client.clone());
    let busy = Busy::default();
    let stream = watcher(api, watcher::Config::default()).default_backoff();
    let mut stream = std::pin::pin!(stream);
    loop {
        match stream.try_next().await {
            Ok(Some(Event::Apply(checkpoint) | Event::InitApply(checkpoint))) => {
                attend(&shared, &busy, checkpoint);
            }
            Ok(Some(Event::Init | Event::InitDone | Event::Delete(_))) => {}
            Ok(None) => return,
            // There are none of a kind that isn't installed.
            Err(Error::InitialListFailed(kube::Error::Api(status))) if status.code == 404 => {}
            Err(error) => tracing::debug!(%error, "watching checkpoints was interrupted"),
        }
    }
}

/// Begins what the Checkpoint asks of this node, unless it is under way. What changes meanwhile is seen when the outcome
/// is written: that changes the object once more.
fn attend(shared: &Arc<Shared>, busy: &Busy, checkpoint: Checkpoint) {
    let Some(order) = Order::of(&checkpoint).filter(|order| order.node == shared.node_name) else { return };
    let removes = checkpoint.metadata.deletion_timestamp.is_some();
    let wanted = if removes {
        has_finalizer(&checkpoint) && checkpoint.annotations().contains_key(annotations::CHECKPOINT_RELEASED)
    } else {
        checkpoint::phase(&checkpoint) == phases::CREATING && Outcome::of(&checkpoint).is_none()
    };
    let key = (checkpoint.uid().unwrap_or_default(), removes);
    if !wanted || !busy.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
        return;
    }
    let (shared, busy) = (shared.clone(), busy.clone());
    tokio::spawn(async move {
        if removes {
            remove(&shared, &checkpoint).await;
        } else {
            keep(&shared, &checkpoint, &order).await;
        }
        busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    });
}

fn has_finalizer(checkpoint: &Checkpoint) -> bool {
    checkpoint.finalizers().iter().any(|finalizer| finalizer == finalizers::CHECKPOINT)
}

/// Keeps the files and says what became of it.
async fn keep(shared: &Arc<Shared>, checkpoint: &Checkpoint, order: &Order) {
    let id = checkpoint::id(checkpoint);
    let started = Instant::now();
    let outcome = match copy(shared, checkpoint, order).await {
        Ok(tally) => {
            let body = json!({
                "checkpoint": id,
                "files": tally.files,
                "bytes": tally.bytes,
                "milliseconds": started.elapsed().as_secs_f64() * 1000.0,
            });
            let subject = format!(
                "Checkpoint/{}/{}",
                checkpoint.namespace().unwrap_or_default(),
                checkpoint.name_any()
            );
            shared.journal.record(source::PROCESS, "checkpointed", &subject, body);
            Outcome::Kept { files: tally.files, bytes: tally.bytes }
        }
        Err(error) => Outcome::Failed { reason: error_chain(&error) },
    };
    let metadata = || json!({"annotations": {annotations::CHECKPOINT_OUTCOME: outcome.text()}});
    if !write(shared, checkpoint, |_| Some(metadata())).await {
        // Nobody will ever ask for the files.
        discard(shared, id).await;
    }
}

/// Why a checkpoint could not be taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("container {0} of the sandbox does not run here any more")]
    NotRunning(String),
    #[error("container {0} ended while its files were copied")]
    Ended(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the copy was interrupted")]
    Interrupted,
}

async fn copy(shared: &Arc<Shared>, checkpoint: &Checkpoint, order: &Order) -> Result<tree::Tally, NotTaken> {
    let context = shared.pods().get(&order.pod_uid).map(|entry| entry.context.clone());
    let gone = || NotTaken::NotRunning(order.container.clone());
    let context = context.ok_or_else(gone)?;
    let record = context.board.find(&order.container);
    let running = record.and_then(|record| record.running).filter(|running| running.process.is_running());
    let running = running.ok_or_else(gone)?;
    let namespace = checkpoint.namespace().unwrap_or_default();
    let origin = context.pod().annotations().get(annotations::RESTORE_FROM).cloned();
    let request = store::Request {
        id: checkpoint::id(checkpoint),
        origin,
        about: store::About { namespace, container: order.container.clone() },
        writable: (0..shared.base.layers.len())
            .map(|number| running.place.join(format!("upper{number}")))
            .collect(),
    };
    let id = request.id.clone();
    let keeper = shared.clone();
    let kept = tokio::task::spawn_blocking(move || keeper.checkpoints.keep(&request)).await;
    let tally = kept.map_err(|_| NotTaken::Interrupted)??;
    if !running.process.is_running() {
        // What it wrote is removed when it ends, so that some of it may be missing.
        discard(shared, id).await;
        return Err(NotTaken::Ended(order.container.clone()));
    }
    Ok(tally)
}

/// Removes the files once no pod here can need them, then the finalizer.
async fn remove(shared: &Arc<Shared>, checkpoint: &Checkpoint) {
    let id = checkpoint::id(checkpoint);
    while shared
        .pods()
        .values()
        .any(|entry| entry.context.pod().annotations().get(annotations::RESTORE_FROM) == Some(&id))
    {
        tokio::time::sleep(RETRY).await;
    }
    discard(shared, id).await;
    let without = |checkpoint: &Checkpoint| {
        let remaining: Vec<_> =
            checkpoint.finalizers().iter().filter(|finalizer| *finalizer != finalizers::CHECKPOINT).collect();
        has_finalizer(checkpoint).then(|| {
            json!({
                "resourceVersion": checkpoint.resource_version(),
                "finalizers": (!remaining.is_empty()).then_some(remaining),
            })
        })
    };
    write(shared, checkpoint, without).await;
}

async fn discard(shared: &Arc<Shared>, id: String) {
    let keeper = shared.clone();
    let removed = tokio::task::spawn_blocking(move || keeper.checkpoints.remove(&id)).await;
    if let Ok(Err(error)) = removed {
        tracing::error!(error = error_chain(&error), "files of a checkpoint are left");
    }
}

/// Patches the metadata of the Checkpoint with what `metadata` makes of its newest version, until that is done or there
/// is nothing to write. Whether the Checkpoint is still there.
async fn write(
    shared: &Shared,
    checkpoint: &Checkpoint,
    metadata: impl Fn(&Checkpoint) -> Option<Value>,
) -> bool {
    let api: Api<Checkpoint> =
        Api::namespaced(shared.client.clone(), &checkpoint.namespace().unwrap_or_default());
    let name = checkpoint.name_any();
    loop {
        let newest = match api.get_opt(&name).await {
            Ok(Some(newest)) if newest.uid() == checkpoint.uid() => newest,
            Ok(_) => return false,
            Err(error) => {
                tracing::warn!(%error, name, "checkpoint not read; trying again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let Some(metadata) = metadata(&newest) else { return true };
        let patch = Patch::Merge(json!({"metadata": metadata}));
        match api.patch(&name, &PatchParams::default(), &patch).await {
            Ok(_) => return true,
            Err(kube::Error::Api(error)) if error.code == 404 => return false,
            // Somebody else wrote meanwhile.
            Err(kube::Error::Api(error)) if error.code == 409 => {}
            Err(error) => {
                tracing::warn!(%error, name, "checkpoint not written; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Folders of checkpoints that no Checkpoint of the API has.
pub(crate) async fn unowned(shared: &Shared) -> Vec<(String, PathBuf)> {
    let mut kept = shared.checkpoints.all();
    if kept.is_empty() {
        return kept;
    }
    let api: Api<Checkpoint> = Api::all(shared.client.clone());
    match api.list(&kube::api::ListParams::default()).await {
        Ok(list) => {
            let known: HashSet<_> = list.items.iter().map(checkpoint::id).collect();
            kept.retain(|(id, _)| !known.contains(id));
        }
        Err(error) => tracing::warn!(%error, "checkpoints not listed: every one that is kept counts as left"),
    }
    kept
}
