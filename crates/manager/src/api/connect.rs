//! Connect, and its legacy form resume (`e2b-api.md` §4.2, §4.3).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use contract::crd::Sandbox;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::body::RawBody;
use super::context::Context;
use super::create::{DEFAULT_TIMEOUT, bounded_timeout};
use super::view::View;
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
    refuse_paused(&sandbox, situation)?;
    let sandbox = extend(&manager, sandbox, timeout).await?;
    let view = View::new(&manager, &context, &sandbox, situation)?.with_token().with_network();
    Ok((StatusCode::OK, Json(view.value())))
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
    refuse_paused(&sandbox, situation)?;
    extend(&manager, sandbox, timeout).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn extend(
    manager: &Manager,
    sandbox: Arc<Sandbox>,
    timeout: Duration,
) -> Result<Arc<Sandbox>, ApiError> {
    let now = manager.now();
    manager.change_deadlines(sandbox, |old, kept| old.extended(now, timeout, kept)).await
}

/// Waking a paused sandbox is not served yet, and says so rather than pretend.
fn refuse_paused(sandbox: &Sandbox, situation: Situation) -> Result<(), ApiError> {
    if situation == Situation::Paused {
        let key = sandboxes::key(sandbox);
        return Err(ApiError::not_supported("resuming a paused sandbox").about(&key.namespace, &key.name));
    }
    Ok(())
}
