//! Mounting (`storage.md` §4.2).

use std::sync::Arc;
use std::time::Duration;

use contract::names::POD_UID_CONTEXT_KEY;
use csi_api::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest};
use tokio::time::{Instant, sleep};

use super::Agent;
use super::csi::Driver;
use super::directories::{Directories, blocking};
use super::ledger::{Fingerprint, fingerprint};
use super::presence::{check_attributes, check_driver};
use super::problem::{Problem, Reason};

/// What a driver says while another call works on the same volume.
const BUSY: Reason = Reason::Failed(tonic::Code::Aborted);
/// The pause before such a driver is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// A mount that is wanted. `request.target_path` is the user's path.
#[derive(Debug)]
pub(crate) struct MountOrder {
    pub(crate) driver: String,
    pub(crate) request: NodePublishVolumeRequest,
}

impl Agent {
    /// Mounts and links; returns the staging directory. An order that was already carried out is carried out again,
    /// which repairs what broke in between and otherwise changes nothing.
    pub(crate) async fn mount(self: Arc<Self>, order: MountOrder) -> Result<String, Problem> {
        let MountOrder { driver, mut request } = order;
        check_driver(&driver)?;
        self.add_pod_uid(&mut request)?;
        let directories = self.directories(&driver, &request.target_path).await?;
        check_attributes(&driver, &request)?;
        let staging = directories.staging();
        let turn = self.turns.take_for_mount(&staging).await;
        let fingerprint = fingerprint(&driver, &request);
        let again = self.ledger.check(&staging, fingerprint)?;
        let directories = Arc::new(directories);
        plan(&directories).await?;
        request.target_path.clone_from(&staging);
        let publication = self.publish(&driver, request, &directories, (!again).then_some(fingerprint));
        tokio::select! {
            biased;
            () = turn.is_unwanted() => Err(Problem::new(BUSY, "mount given up: the path is to be unmounted")),
            outcome = publication => outcome.map(|()| staging),
        }
    }

    fn add_pod_uid(&self, request: &mut NodePublishVolumeRequest) -> Result<(), Problem> {
        let uid = request.volume_context.entry(POD_UID_CONTEXT_KEY.to_owned()).or_default();
        if uid.trim().is_empty() {
            *uid = self.surroundings.pod_uid.clone().unwrap_or_default();
        }
        if uid.trim().is_empty() {
            return Err(Problem::precondition("Pod UID is required: set the environment variable POD_UID"));
        }
        Ok(())
    }

    /// Mounts, then links; a mount that can't be linked is undone. `new` is the fingerprint of a mount that was not
    /// there before.
    async fn publish(
        self: &Arc<Self>,
        driver: &str,
        request: NodePublishVolumeRequest,
        directories: &Arc<Directories>,
        new: Option<Fingerprint>,
    ) -> Result<(), Problem> {
        let undo = NodeUnpublishVolumeRequest {
            volume_id: request.volume_id.clone(),
            target_path: request.target_path.clone(),
        };
        if let Err(problem) = Driver::new(&self.surroundings, driver).publish(request).await {
            if new.is_some() && problem.reason() == Reason::DeadlineExceeded {
                // The driver may still finish: whatever it mounts then must not stay.
                let (agent, driver) = (self.clone(), driver.to_owned());
                tokio::spawn(async move { agent.undo(&driver, undo).await });
            }
            return Err(problem.within(format!("mount failed for driver {driver}")));
        }
        if let Err(problem) = link(directories).await {
            self.undo(driver, undo).await;
            return Err(problem);
        }
        if let Some(fingerprint) = new {
            self.ledger.add(&directories.staging(), fingerprint);
        }
        Ok(())
    }

    /// Takes a mount back, as far as that is possible: the failure that led here is what the caller has to hear.
    async fn undo(&self, driver: &str, request: NodeUnpublishVolumeRequest) {
        let staging = request.target_path.clone();
        self.ledger.remove(&staging);
        match self.unpublish(driver, request).await {
            Ok(()) => remove_staging(staging).await,
            Err(problem) => tracing::warn!(%driver, %staging, "cannot undo the mount: {problem}"),
        }
    }

    /// Asks for an unmount, again while the driver is still at work on the mount.
    pub(super) async fn unpublish(
        &self,
        driver: &str,
        request: NodeUnpublishVolumeRequest,
    ) -> Result<(), Problem> {
        let deadline = Instant::now() + self.surroundings.call_limit;
        loop {
            match Driver::new(&self.surroundings, driver).unpublish(request.clone()).await {
                Err(problem) if problem.reason() == BUSY && Instant::now() < deadline => sleep(PAUSE).await,
                outcome => return outcome,
            }
        }
    }
}

/// Looks whether the link can be made, before anything is mounted.
async fn plan(directories: &Arc<Directories>) -> Result<(), Problem> {
    let directories = directories.clone();
    blocking(move || directories.link.plan(&directories.table).map(drop)).await
}

async fn link(directories: &Arc<Directories>) -> Result<(), Problem> {
    let directories = directories.clone();
    blocking(move || directories.link.make(&directories.table)).await
}

/// Removes an empty staging directory. Never more than that: a mount may still be live there.
pub(super) async fn remove_staging(staging: String) {
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir(staging)).await;
    if let Ok(Err(problem)) = removed
        && problem.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!("the staging directory stays: {problem}");
    }
}
