//! Writes a pod's status whenever it changes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Patch, PatchParams};

use super::status::{self, Circumstances};
use super::{PodContext, lock};

/// How long a failed write waits before it is tried again, in real time.
const RETRY: Duration = Duration::from_millis(500);

impl PodContext {
    /// The status by what is known now, if it differs from the one written last.
    fn new_status(&self) -> Option<PodStatus> {
        let mut pod = Pod::clone(&self.pod());
        let last = lock(&self.last_status).clone();
        pod.status = last.clone().or(pod.status);
        let sandbox = self.sandbox();
        let circumstances = Circumstances {
            now: self.node.clock.now(),
            start_time: self.start_time,
            pod_ip: sandbox.map(|sandbox| sandbox.address_text.clone()),
            host_ip: self.node.network.bridge_address().to_string(),
            sandbox_ready: sandbox.is_some(),
            hibernation: self.hibernation.state(),
        };
        let new = status::status(&pod, &self.board.records(), &circumstances);
        (last.as_ref() != Some(&new)).then_some(new)
    }

    /// Writes the status if it changed. A pod that is gone needs none.
    pub(super) async fn write_status(&self) -> Result<(), kube::Error> {
        let Some(status) = self.new_status() else { return Ok(()) };
        let patch = Patch::Merge(status::patch(Some(&self.uid), &status));
        match self.api().patch_status(&self.name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        *lock(&self.last_status) = Some(status);
        Ok(())
    }
}

/// Follows the board for ever.
pub(super) async fn follow(context: Arc<PodContext>) {
    let mut changes = context.board.changes();
    loop {
        changes.mark_unchanged();
        if let Err(error) = context.write_status().await {
            tracing::warn!(pod = context.full_name(), %error, "status not written; trying again");
            tokio::time::sleep(RETRY).await;
            continue;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
