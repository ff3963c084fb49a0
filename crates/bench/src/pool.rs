//! The warm pool that sandboxes are created from.

use std::time::Duration;

use contract::crd::SandboxSet;
use futures::TryStreamExt as _;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};

use crate::BenchError;
use crate::document::kubernetes;

/// The template that sandboxes are created from.
pub(crate) const TEMPLATE: &str = "code-interpreter-inject-test";

/// How long the pool may take to be full again.
const DEADLINE: Duration = Duration::from_secs(60);

/// Has the template keep `replicas` sandboxes warm.
pub(crate) async fn resize(client: &kube::Client, replicas: i32) -> Result<(), BenchError> {
    let sets: Api<SandboxSet> = Api::default_namespaced(client.clone());
    let patch = serde_json::json!({"spec": {"replicas": replicas}});
    sets.patch(TEMPLATE, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map_err(kubernetes("resize the SandboxSet"))?;
    full(client).await
}

/// Waits until every warm sandbox is there.
pub(crate) async fn full(client: &kube::Client) -> Result<(), BenchError> {
    let sets: Api<SandboxSet> = Api::default_namespaced(client.clone());
    let configuration = watcher::Config::default().fields(&format!("metadata.name={TEMPLATE}"));
    let mut changes = std::pin::pin!(watcher(sets, configuration).applied_objects());
    let mut last = "no SandboxSet seen".to_owned();
    let full = async {
        while let Some(set) = changes.try_next().await.map_err(kubernetes("watch the SandboxSet"))? {
            let wanted = set.spec.replicas;
            let status = set.status.unwrap_or_default();
            if status.available_replicas == wanted && status.replicas == wanted {
                return Ok(());
            }
            last = format!("{} of {wanted} available, {} there", status.available_replicas, status.replicas);
        }
        Err(BenchError::WatchEnded("the SandboxSet"))
    };
    match tokio::time::timeout(DEADLINE, full).await {
        Ok(outcome) => outcome,
        Err(_) => Err(BenchError::Deadline { deadline: "warm pool deadline", limit: DEADLINE, last }),
    }
}
