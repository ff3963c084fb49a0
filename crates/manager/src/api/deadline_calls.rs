//! Setting the timeout (`e2b-api.md` §4.8), and the write that every change of deadlines shares.

use std::sync::Arc;

use axum::extract::{Path, State};
use contract::crd::Sandbox;
use contract::duration::retention;
use contract::errors::Code;
use contract::names::annotations;
use http::StatusCode;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::RawBody;
use super::context::Context;
use super::create::bounded_timeout;
use crate::deadlines::Deadlines;
use crate::error::{ApiError, is_conflict, is_not_found};
use crate::keys::Caller;
use crate::manager::Manager;
use crate::sandboxes::{self, Situation};

/// How often a change is tried again when somebody else changed the sandbox meanwhile.
const TRIES: u32 = 5;

#[derive(Debug, Deserialize)]
struct Body {
    timeout: i64,
}

/// `POST /sandboxes/{id}/timeout`: counts anew from now, earlier or later.
pub(crate) async fn set_timeout(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    Path(id): Path<String>,
    body: RawBody,
) -> Result<StatusCode, ApiError> {
    context.concerns(&id);
    let (sandbox, situation) = manager.owned(&caller, &id)?;
    let body: Body = body.read()?;
    let timeout = bounded_timeout(&manager, body.timeout, 1)?;
    if matches!(situation, Situation::Pausing | Situation::Paused | Situation::Waking) {
        let key = sandboxes::key(&sandbox);
        let error = ApiError::new(
            Code::SandboxStateConflict,
            "the sandbox is not running, so it has no timeout to set",
        );
        return Err(error.about(&key.namespace, &key.name));
    }
    let now = manager.now();
    manager.change_deadlines(sandbox, |old, kept| old.replaced(now, timeout, kept)).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Manager {
    /// Changes a sandbox's deadlines by `change`, which gets the old ones and how long a paused sandbox is kept. When
    /// somebody else writes meanwhile, `change` is asked again about the newer version. Gives back the newest version.
    pub(crate) async fn change_deadlines(
        &self,
        sandbox: Arc<Sandbox>,
        change: impl Fn(Deadlines, std::time::Duration) -> Deadlines,
    ) -> Result<Arc<Sandbox>, ApiError> {
        self.change(sandbox, "store the sandbox's deadlines", |sandbox| {
            let old = Deadlines::of(&sandbox.spec);
            let kept = sandboxes::annotation(sandbox, annotations::RESERVE_PAUSED_SANDBOX_DURATION);
            let new = change(old, retention(kept));
            Ok((new != old).then(|| json!({"metadata": {}, "spec": new.patch()})))
        })
        .await
    }

    /// Merges into a sandbox what `decide` makes of it, if anything. When somebody else writes meanwhile, `decide` is
    /// asked again about the newer version. Gives back the newest version.
    pub(crate) async fn change(
        &self,
        mut sandbox: Arc<Sandbox>,
        action: &str,
        decide: impl Fn(&Sandbox) -> Result<Option<Value>, ApiError>,
    ) -> Result<Arc<Sandbox>, ApiError> {
        let key = sandboxes::key(&sandbox);
        let api = self.sandbox_api(&key.namespace);
        for _ in 0..TRIES {
            let decided = decide(&sandbox).map_err(|error| error.about(&key.namespace, &key.name))?;
            let Some(mut patch) = decided else { return Ok(sandbox) };
            patch["metadata"]["resourceVersion"] = json!(sandbox.resource_version());
            match api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(written) => return Ok(self.shared.sandboxes.observe(written)),
                Err(error) if is_conflict(&error) => {
                    let newest = api.get(&key.name).await;
                    let newest = newest.map_err(|error| self.write_failed(&sandbox, action, &error))?;
                    sandbox = self.shared.sandboxes.observe(newest);
                }
                Err(error) => return Err(self.write_failed(&sandbox, action, &error)),
            }
        }
        let message = format!("failed to {action}: it was changed {TRIES} times meanwhile, try again");
        Err(ApiError::new(Code::Internal, message).about(&key.namespace, &key.name))
    }

    /// Merges `patch` into a sandbox.
    pub(crate) async fn patch_sandbox(
        &self,
        sandbox: &Sandbox,
        action: &str,
        patch: &Value,
    ) -> Result<Arc<Sandbox>, ApiError> {
        let key = sandboxes::key(sandbox);
        let api = self.sandbox_api(&key.namespace);
        let written = api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        written
            .map(|written| self.shared.sandboxes.observe(written))
            .map_err(|error| self.write_failed(sandbox, action, &error))
    }

    /// A write's failure; a sandbox that has gone meanwhile is simply not found.
    #[allow(clippy::unused_self, reason = "belongs to the writes above")]
    fn write_failed(&self, sandbox: &Sandbox, action: &str, error: &kube::Error) -> ApiError {
        if is_not_found(error) {
            return ApiError::sandbox_not_found(&sandboxes::id(sandbox));
        }
        let key = sandboxes::key(sandbox);
        ApiError::kubernetes(action, error).about(&key.namespace, &key.name)
    }
}
