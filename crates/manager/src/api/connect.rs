//! Connect, and its legacy form resume (`e2b-api.md` §4.2, §4.3).
//!
//! ```text
//! running ─► the deadline moves later ────────────────────────────────► 200
//! paused  ─► un-paused and given a deadline in one write ─► ready? ───► 201, or 500 with what keeps it
//! waking  ─► another call's wake-up is joined; the longest timeout wins ─┘
//! pausing ─► 400 SandboxIsPausing
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use contract::crd::Sandbox;
use contract::duration::retention;
use contract::errors::Code;
use contract::names::annotations;
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::RawBody;
use super::context::Context;
use super::create::{DEFAULT_TIMEOUT, bounded_timeout};
use super::settled::Wait;
use super::view::View;
use crate::deadlines::Deadlines;
use crate::error::ApiError;
use crate::keys::Caller;
use crate::manager::Manager;
use crate::sandboxes::{self, Situation};

/// The body of connect. `memory` (cold boot or not) is accepted and makes no difference.
#[derive(Debug, Deserialize)]
struct Connect {
    timeout: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Resume {
    timeout: i64,
}

/// `POST /v2/sandboxes/{id}/connect`, `POST /sandboxes/{id}/connect`: the deadline only ever moves later.
pub(crate) async fn connect(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    Path(id): Path<String>,
    body: RawBody,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    context.concerns(&id);
    let (sandbox, situation) = manager.owned(&caller, &id)?;
    let timeout = match body.read_or_empty::<Connect>()?.timeout {
        None | Some(0) => DEFAULT_TIMEOUT,
        Some(seconds) => bounded_timeout(&manager, seconds, 1)?,
    };
    let (status, sandbox, situation) = if sleeps(&sandbox, situation) {
        (StatusCode::CREATED, manager.wake(sandbox, timeout).await?, Situation::Running)
    } else {
        (StatusCode::OK, manager.extend(sandbox, timeout).await?, situation)
    };
    let view = View::new(&manager, &context, &sandbox, situation)?.with_token().with_network();
    Ok((status, Json(view.value())))
}

/// `POST /sandboxes/{id}/resume`
pub(crate) async fn resume(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    Path(id): Path<String>,
    body: RawBody,
) -> Result<StatusCode, ApiError> {
    context.concerns(&id);
    let (sandbox, situation) = manager.owned(&caller, &id)?;
    let timeout = bounded_timeout(&manager, body.read::<Resume>()?.timeout, 1)?;
    if sleeps(&sandbox, situation) {
        let woken = manager.wake(sandbox, timeout).await;
        // a conflict of states is a 409 here (§4.3)
        woken.map_err(|error| match error.code {
            Code::SandboxPausing => error.with_status(StatusCode::CONFLICT),
            _ => error,
        })?;
    } else {
        manager.extend(sandbox, timeout).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Whether the sandbox has to wake up, or is doing so, before it can be used.
fn sleeps(sandbox: &Sandbox, situation: Situation) -> bool {
    match situation {
        Situation::Pausing | Situation::Paused | Situation::Waking => true,
        Situation::NotReady => sandboxes::is_coming_back(sandbox),
        Situation::Running | Situation::Hidden => false,
    }
}

impl Manager {
    async fn extend(&self, sandbox: Arc<Sandbox>, timeout: Duration) -> Result<Arc<Sandbox>, ApiError> {
        let now = self.now();
        self.change_deadlines(sandbox, |old, kept| old.extended(now, timeout, kept)).await
    }

    /// Wakes a sandbox up, or joins who does, and waits until it is ready. The new deadline is written together with
    /// the wish, so that no automatic pause comes in between.
    async fn wake(&self, sandbox: Arc<Sandbox>, timeout: Duration) -> Result<Arc<Sandbox>, ApiError> {
        let options = &self.shared.options;
        let (now, timeout) = (self.now(), timeout.max(options.resume_floor));
        let written =
            self.change(sandbox, "store the wake-up", |sandbox| wish(sandbox, now, timeout)).await?;
        let wait = Wait { limit: options.resume_limit, code: Code::ResumeFailed, action: "resume sandbox" };
        self.settled(&written, wait, |newest| match Situation::of(newest, self.now()) {
            Situation::Running if sandboxes::pod_ip(newest).is_some() => Some(Ok(Arc::new(newest.clone()))),
            Situation::Pausing | Situation::Paused => Some(Err(is_pausing())),
            Situation::Hidden => Some(Err(ApiError::sandbox_not_found(&sandboxes::id(newest)))),
            Situation::Running | Situation::Waking | Situation::NotReady => None,
        })
        .await
    }
}

/// What to write.
fn wish(sandbox: &Sandbox, now: Timestamp, timeout: Duration) -> Result<Option<Value>, ApiError> {
    let old = Deadlines::of(&sandbox.spec);
    let stored = sandboxes::annotation(sandbox, annotations::RESERVE_PAUSED_SANDBOX_DURATION);
    match Situation::of(sandbox, now) {
        Situation::Pausing => Err(is_pausing()),
        Situation::Hidden => Err(ApiError::sandbox_not_found(&sandboxes::id(sandbox))),
        Situation::Paused => {
            let mut spec = old.replaced(now, timeout, retention(stored)).patch();
            spec["paused"] = false.into();
            Ok(Some(json!({"metadata": {}, "spec": spec})))
        }
        Situation::Waking | Situation::NotReady | Situation::Running => {
            let new = old.extended(now, timeout, retention(stored));
            Ok((new != old).then(|| json!({"metadata": {}, "spec": new.patch()})))
        }
    }
}

/// Upstream's tests look for the word and try again.
fn is_pausing() -> ApiError {
    let message = "SandboxIsPausing: the sandbox is being paused, try again when the pause is complete";
    ApiError::new(Code::SandboxPausing, message)
}
