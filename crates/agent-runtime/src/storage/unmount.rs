//! Unmounting (`storage.md` §4.5).

use std::sync::Arc;

use csi_api::NodeUnpublishVolumeRequest;

use super::Agent;
use super::mount::remove_staging;
use super::presence::check_driver;
use super::problem::Problem;

/// A mount that is to go. `request.target_path` is the user's path.
#[derive(Debug)]
pub(crate) struct UnmountOrder {
    pub(crate) driver: String,
    pub(crate) request: NodeUnpublishVolumeRequest,
    /// The link stays and leads nowhere until the path is mounted again: nothing can be made in its place meanwhile.
    pub(crate) keep_link: bool,
}

impl Agent {
    /// Unmounts, then removes the link, unless that is to stay, and the staging directory. What is already gone is fine, and a mount of the
    /// same path that is still under way is given up.
    pub(crate) async fn unmount(self: Arc<Self>, order: UnmountOrder) -> Result<(), Problem> {
        let UnmountOrder { driver, mut request, keep_link } = order;
        check_driver(&driver)?;
        if request.target_path.trim().is_empty() || request.volume_id.trim().is_empty() {
            return Err(Problem::bad_request("target path and volume id are required"));
        }
        let mount_path = request.target_path.clone();
        let directories = self.directories(&driver, &mount_path).await?;
        let staging = directories.staging();
        let _turn = self.turns.take_for_unmount(&staging).await;
        request.target_path.clone_from(&staging);
        let outcome = self.unpublish(&driver, request).await;
        outcome.map_err(|problem| problem.within(format!("unmount failed for driver {driver}")))?;
        self.ledger.remove(&staging);
        if !keep_link {
            let link = directories.link;
            let unlinked = tokio::task::spawn_blocking(move || link.remove()).await;
            if let Ok(Err(problem)) = unlinked {
                tracing::warn!(path = %mount_path, "the link stays: {problem}");
            }
        }
        remove_staging(staging).await;
        Ok(())
    }
}
