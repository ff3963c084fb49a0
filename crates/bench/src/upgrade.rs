//! In-place upgrade of a running sandbox: from the patch of its object to the sandbox that is ready again, which it is
//! once its mounts are back.

use std::time::{Duration, Instant};

use contract::conditions::{self, types};
use contract::crd::Sandbox;
use contract::state;
use futures::TryStreamExt as _;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::BenchError;
use crate::create::milliseconds;
use crate::document::kubernetes;

/// How long one upgrade may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Gives the sandbox of that id the next version of its image; the milliseconds until it is ready with it.
pub(crate) async fn image(client: &kube::Client, id: &str) -> Result<f64, BenchError> {
    let (namespace, name) = id.split_once("--").unwrap_or(("default", id));
    let sandboxes: Api<Sandbox> = Api::namespaced(client.clone(), namespace);
    let sandbox = sandboxes.get(name).await.map_err(kubernetes("get a sandbox"))?;
    let mut template = sandbox.spec.template.unwrap_or_default();
    let image =
        template.pointer("/spec/containers/0/image").and_then(|image| image.as_str()).unwrap_or_default();
    template["spec"]["containers"][0]["image"] = json!(format!("{image}-upgraded"));
    let patch = Patch::Merge(json!({"spec": {"template": template}}));
    let configuration = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = std::pin::pin!(watcher(sandboxes.clone(), configuration).applied_objects());
    // the watch is there before the clock runs
    changes.try_next().await.map_err(kubernetes("watch a sandbox"))?;
    let started = Instant::now();
    let patched = sandboxes.patch(name, &PatchParams::default(), &patch).await;
    let generation = patched.map_err(kubernetes("upgrade a sandbox"))?.metadata.generation;
    let mut last = "not seen".to_owned();
    let ready = async {
        while let Some(sandbox) = changes.try_next().await.map_err(kubernetes("watch a sandbox"))? {
            if is_upgraded(&sandbox, generation) {
                return Ok(milliseconds(started));
            }
            last = format!("{}: {:?}", sandbox.name_any(), sandbox.status.map(|status| status.conditions));
        }
        Err(BenchError::WatchEnded("the Sandbox"))
    };
    match tokio::time::timeout(DEADLINE, ready).await {
        Ok(outcome) => outcome,
        Err(_) => Err(BenchError::Deadline { deadline: "upgrade deadline", limit: DEADLINE, last }),
    }
}

/// Whether the update of that generation is done and the sandbox ready.
fn is_upgraded(sandbox: &Sandbox, generation: Option<i64>) -> bool {
    let conditions = sandbox.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let updated = conditions::find(conditions, types::INPLACE_UPDATE);
    state::is_ready(sandbox)
        && updated
            .is_some_and(|updated| updated.status == "True" && updated.observed_generation >= generation)
}
