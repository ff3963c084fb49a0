//! Pause (`e2b-api.md` §4.7): asked of the controller, and waited for until it is complete.

use std::sync::Arc;

use axum::extract::{Path, State};
use contract::conditions::types;
use contract::crd::{Sandbox, SandboxPhase};
use contract::duration::retention;
use contract::errors::Code;
use contract::extensions::paused_retention;
use contract::hibernation::Verdict;
use contract::names::annotations;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::RawBody;
use super::context::Context;
use super::settled::Wait;
use crate::deadlines::Deadlines;
use crate::error::ApiError;
use crate::keys::Caller;
use crate::manager::Manager;
use crate::sandboxes::{self, Situation};

/// The header that says how long the paused sandbox is kept; it replaces what was said at create.
const KEPT: &str = "x-e2b-kruise-reserve-paused-sandbox-duration";

/// The body; `memory` and `requireHealthyGuest` are accepted and make no difference.
#[derive(Debug, Deserialize)]
struct Body {}

/// `POST /sandboxes/{id}/pause`
pub(crate) async fn pause(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<StatusCode, ApiError> {
    context.concerns(&id);
    let (sandbox, _) = manager.owned(&caller, &id)?;
    let Body {} = body.read_or_empty()?;
    let kept = headers
        .get(KEPT)
        .map(|value| paused_retention(KEPT, String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .transpose()?;
    let key = sandboxes::key(&sandbox);
    let paused = manager.pause(sandbox, kept.as_deref()).await;
    paused.map_err(|error| error.about(&key.namespace, &key.name))?;
    Ok(StatusCode::NO_CONTENT)
}

impl Manager {
    /// Pauses a sandbox, or waits for the pause that is under way; `kept` replaces how long it is kept then.
    async fn pause(&self, sandbox: Arc<Sandbox>, kept: Option<&str>) -> Result<(), ApiError> {
        if Situation::of(&sandbox, self.now()) == Situation::Running {
            let client = &self.shared.options.client;
            if let Verdict::Refused(problem) = runtime_client::may_hibernate(client, &sandbox).await? {
                return Err(problem.into());
            }
        }
        let now = self.now();
        let written = self.change(sandbox, "store the pause", |sandbox| wish(sandbox, kept, now)).await?;
        let wait =
            Wait { limit: self.shared.options.pause_limit, code: Code::PauseFailed, action: "pause sandbox" };
        self.settled(&written, wait, |newest| outcome(&written, newest)).await
    }
}

/// What to write, unless the wish is there already.
fn wish(sandbox: &Sandbox, kept: Option<&str>, now: Timestamp) -> Result<Option<Value>, ApiError> {
    match Situation::of(sandbox, now) {
        Situation::Running => {}
        Situation::Pausing | Situation::Paused => return Ok(None),
        Situation::Waking => {
            let message = "the sandbox is just waking up: pause it once it runs";
            return Err(ApiError::new(Code::SandboxResuming, message));
        }
        Situation::NotReady => {
            let message = "only a sandbox that runs and is ready can be paused, this one is not ready";
            // the SDKs would take a 409 for "paused already" and raise nothing (`e2b-api.md` §16, 1)
            let error = ApiError::new(Code::SandboxStateConflict, message);
            return Err(error.with_status(StatusCode::BAD_REQUEST));
        }
        Situation::Hidden => return Err(ApiError::sandbox_not_found(&sandboxes::id(sandbox))),
    }
    let stored = sandboxes::annotation(sandbox, annotations::RESERVE_PAUSED_SANDBOX_DURATION);
    let mut spec = Deadlines::of(&sandbox.spec).paused(now, retention(kept.or(stored))).patch();
    spec["paused"] = true.into();
    let mut patch = json!({"metadata": {}, "spec": spec});
    if let Some(kept) = kept {
        patch["metadata"]["annotations"] = json!({annotations::RESERVE_PAUSED_SANDBOX_DURATION: kept});
    }
    Ok(Some(patch))
}

/// How the pause that was written as `written` ended, if it did; `sandbox` is its newest version.
fn outcome(written: &Sandbox, sandbox: &Sandbox) -> Option<Result<(), ApiError>> {
    if !sandbox.spec.paused {
        // woken up again since: that is only possible once the pause was complete
        return Some(Ok(()));
    }
    let status = sandbox.status.as_ref()?;
    let seen = status.observed_generation >= written.metadata.generation;
    if status.phase == SandboxPhase::Running && seen && sandboxes::pause_is_refused(sandbox) {
        let refusal = sandboxes::condition(sandbox, types::SANDBOX_PAUSED);
        let message = refusal.map(|refusal| refusal.message.clone()).unwrap_or_default();
        return Some(Err(ApiError::new(Code::StorageNotHibernatable, message)));
    }
    (status.phase == SandboxPhase::Paused && sandboxes::has(sandbox, types::SANDBOX_PAUSED)).then_some(Ok(()))
}
