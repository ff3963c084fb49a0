//! The CSI Node service of one driver.
//!
//! A publication goes through these steps, in this order (`storage.md` §6.3): lock, common checks, the driver reads
//! attributes and credentials, the target directory is made and looked at (a live mount ends it), the driver checks the
//! rest, unmounts a dead mount, and mounts. The work goes on if the caller goes away, so that what is
//! mounted is always known here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csi_api::node_server::Node;
use csi_api::volume_capability::access_mode::Mode;
use csi_api::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodeGetVolumeStatsRequest,
    NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse, NodeStageVolumeRequest,
    NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    NodeUnstageVolumeRequest, NodeUnstageVolumeResponse,
};
use serde_json::json;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};
use tonic::{Code, Request, Response, Status};

use crate::checks;
use crate::driver::{Driver, Mounted, Place, Refusal, VolumeIdentity};
use crate::locks::InFlight;
use crate::mounts::{self, MountTable, TargetState};

/// How long a publication waits for another one to the same target.
const TARGET_LIMIT: Duration = Duration::from_secs(40);
/// A secret shorter than this is too common a text to be blotted out.
const SHORTEST_SECRET: usize = 4;

/// What a [`NodeService`] needs.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The driver it serves.
    pub driver: Arc<dyn Driver>,
    /// The kernel's mount table.
    pub mounts: Arc<dyn MountTable>,
    /// Name of the node.
    pub node_id: String,
    /// Directories of executable files, as in `PATH`: no target may lie in one.
    pub search_path: String,
}

/// The service; clones share what is published.
#[derive(Clone, Debug)]
pub struct NodeService {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: NodeOptions,
    volumes: InFlight,
    targets: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<Option<Published>>>>>,
}

/// What is published at a target.
#[derive(Debug)]
struct Published {
    identity: VolumeIdentity,
    mounted: Box<dyn Mounted>,
}

impl NodeService {
    /// The service of `options.driver`, with nothing published.
    pub fn new(options: NodeOptions) -> Self {
        let shared = Shared { options, volumes: InFlight::default(), targets: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Unmounts everything that was published here, all at once. Answers the targets that could not be unmounted.
    pub async fn unmount_all(&self) -> Vec<PathBuf> {
        let targets: Vec<_> = self.shared.slots().drain().collect();
        let unmounts = targets.into_iter().map(|(target, slot)| async move {
            let published = slot.lock().await.take()?;
            let outcome = published.mounted.unmount().await;
            if let Err(error) = &outcome {
                tracing::error!(target = %target.display(), %error, "a volume stays mounted");
            }
            outcome.is_err().then_some(target)
        });
        futures::future::join_all(unmounts).await.into_iter().flatten().collect()
    }
}

impl Shared {
    fn slots(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Arc<tokio::sync::Mutex<Option<Published>>>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn slot(&self, target: &Path) -> Result<OwnedMutexGuard<Option<Published>>, Refusal> {
        let slot = Arc::clone(self.slots().entry(target.to_owned()).or_default());
        timeout(TARGET_LIMIT, slot.lock_owned()).await.map_err(|_| {
            Refusal::new(
                Code::Aborted,
                format!("there is already an operation on target {}, for {TARGET_LIMIT:?}", target.display()),
            )
        })
    }

    async fn publish(&self, request: &NodePublishVolumeRequest) -> Result<(), Refusal> {
        let _volume = self.volumes.enter(&request.volume_id)?;
        checks::request(request)?;
        let target = checks::target(&request.target_path, &self.options.search_path)?;
        let driver = &self.options.driver;
        let preparation = driver.prepare(request)?;
        let identity = preparation.identity();

        let mut slot = self.slot(&target).await?;
        if let Some(gone) = slot.take_if(|published| published.mounted.has_ended()) {
            drop(gone);
        }
        // A dead mount can't be looked at, but a directory is there then.
        let state = mounts::state(&self.options.mounts, &target, Some(driver.liveness())).await?;
        let table = Arc::clone(&self.options.mounts);
        let place = match state {
            TargetState::Free => {
                make_target(&target)?;
                Place::free(target, table)
            }
            TargetState::Alive => return same_volume(slot.as_ref(), &identity, &target),
            TargetState::Dead => {
                drop(slot.take());
                Place::with_dead_mount(target, table)
            }
        };
        let mounted = preparation.mount(&place).await?;
        *slot = Some(Published { identity, mounted });
        Ok(())
    }

    async fn unpublish(&self, request: &NodeUnpublishVolumeRequest) -> Result<(), Refusal> {
        checks::volume_id(&request.volume_id)?;
        let target = checks::target(&request.target_path, &self.options.search_path)?;
        let mut slot = self.slot(&target).await?;
        if let Some(published) = slot.take() {
            published.mounted.unmount().await?;
        }
        let state = mounts::state(&self.options.mounts, &target, None).await?;
        if state != TargetState::Free {
            mounts::detach(&self.options.mounts, &target).await?;
        }
        // Only ever the empty directory itself: what is in a directory may be the customer's.
        if let Err(error) = std::fs::remove_dir(&target)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::info!(target = %target.display(), %error, "the target directory stays");
        }
        Ok(())
    }
}

fn make_target(target: &Path) -> Result<(), Refusal> {
    if target.is_symlink() {
        return Err(Refusal::invalid(format!("target_path {} is a symbolic link", target.display())));
    }
    std::fs::create_dir_all(target).map_err(|error| {
        Refusal::internal(format!("target directory {} can't be made: {error}", target.display()))
    })
}

/// A live mount is kept if it is what is asked for. One that this process didn't make can't be compared.
fn same_volume(published: Option<&Published>, wanted: &VolumeIdentity, target: &Path) -> Result<(), Refusal> {
    match published {
        Some(published) if published.identity != *wanted => Err(Refusal::new(
            Code::AlreadyExists,
            format!(
                "another volume is already mounted at {}: {}{} (read only: {}), asked for {}{} (read only: {})",
                target.display(),
                published.identity.source,
                published.identity.path,
                published.identity.read_only,
                wanted.source,
                wanted.path,
                wanted.read_only,
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether a publication is for reading only: by its flag, or by its access mode.
pub(crate) fn is_read_only(request: &NodePublishVolumeRequest) -> bool {
    let mode = request.volume_capability.as_ref().and_then(|capability| capability.access_mode.as_ref());
    let reads = mode
        .is_some_and(|mode| matches!(mode.mode(), Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly));
    request.readonly || reads
}

/// `text` with every secret of `request` blotted out.
fn conceal(text: &str, request: &NodePublishVolumeRequest) -> String {
    request
        .secrets
        .values()
        .filter(|secret| secret.len() >= SHORTEST_SECRET)
        .fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), csi_api::REDACTED))
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let shared = Arc::clone(&self.shared);
        let work = tokio::spawn(async move {
            let begun = Instant::now();
            let outcome = shared
                .publish(&request)
                .await
                .map_err(|refusal| Refusal { message: conceal(&refusal.message, &request), ..refusal });
            announce(
                "NodePublishVolume",
                &request.target_path,
                &request.volume_id,
                &shared,
                begun,
                &outcome,
                Some(is_read_only(&request)),
            );
            outcome
        });
        finished(work.await).map(|()| Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let shared = Arc::clone(&self.shared);
        let work = tokio::spawn(async move {
            let begun = Instant::now();
            let outcome = shared.unpublish(&request).await;
            announce(
                "NodeUnpublishVolume",
                &request.target_path,
                &request.volume_id,
                &shared,
                begun,
                &outcome,
                None,
            );
            outcome
        });
        finished(work.await).map(|()| Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_capabilities(
        &self,
        _request: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        Ok(Response::new(NodeGetCapabilitiesResponse::default()))
    }

    async fn node_get_info(
        &self,
        _request: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        let node_id = self.shared.options.node_id.clone();
        Ok(Response::new(NodeGetInfoResponse { node_id, ..Default::default() }))
    }

    async fn node_stage_volume(
        &self,
        _request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        Err(Status::unimplemented("volumes are published without staging"))
    }

    async fn node_unstage_volume(
        &self,
        _request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        Err(Status::unimplemented("volumes are published without staging"))
    }

    async fn node_get_volume_stats(
        &self,
        _request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        Err(Status::unimplemented("usage is told by the file system itself"))
    }

    async fn node_expand_volume(
        &self,
        _request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        Err(Status::unimplemented("volumes have no size to expand"))
    }
}

fn finished(joined: Result<Result<(), Refusal>, tokio::task::JoinError>) -> Result<(), Status> {
    match joined {
        Ok(outcome) => outcome.map_err(Status::from),
        Err(error) => Err(Status::internal(format!("the call ended early: {error}"))),
    }
}

/// Tells the journal about a call that has ended.
fn announce(
    method: &str,
    target: &str,
    volume_id: &str,
    shared: &Shared,
    begun: Instant,
    outcome: &Result<(), Refusal>,
    read_only: Option<bool>,
) {
    let (code, message) = match outcome {
        Ok(()) => (Code::Ok, ""),
        Err(refusal) => (refusal.code, refusal.message.as_str()),
    };
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut body = json!({
        "driver": shared.options.driver.name(),
        "volume_id": volume_id,
        "code": format!("{code:?}"),
        "message": message,
        "milliseconds": milliseconds,
    });
    if let Some(read_only) = read_only {
        body["readonly"] = read_only.into();
    }
    journal::announce(journal::source::CSI, method, target, body);
}
