//! Small routes: health, Prometheus, debug, and the calls of the E2B API that answer 501 (`e2b-api.md` §4.12 to
//! §4.14).

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use contract::errors::Code;
use http::{Uri, header};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use service::METRICS_CONTENT_TYPE;

use super::context::Context;
use crate::error::ApiError;
use crate::keys::Caller;
use crate::manager::Manager;
use crate::measure::states;

/// `GET /health`, only without prefix.
pub(crate) async fn health(context: Context) -> Result<&'static str, ApiError> {
    without_prefix(&context, "/health")?;
    Ok("OK")
}

/// `GET /metrics`, only without prefix.
pub(crate) async fn prometheus(
    State(manager): State<Manager>,
    context: Context,
) -> Result<Response, ApiError> {
    without_prefix(&context, "/metrics")?;
    let text = manager.metrics_text().map_err(|_| {
        ApiError::new(Code::Internal, "the metrics cannot be written, which is a defect of the manager")
    })?;
    Ok(([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], text).into_response())
}

/// `GET /debug`
pub(crate) async fn debug(State(manager): State<Manager>, caller: Caller) -> Json<Value> {
    Json(json!({
        "caller": caller.name,
        "team": caller.team,
        "synced": manager.is_synced(),
        "sandboxes": states(&manager.shared),
        "pools": pools(&manager, &caller),
    }))
}

/// What each pool that the caller sees could hand out now.
fn pools(manager: &Manager, caller: &Caller) -> BTreeMap<String, Value> {
    let sets = manager.shared.sets.select(|set| caller.sees(&set.namespace().unwrap_or_default()));
    let counted = sets.iter().map(|set| {
        let name = format!("{}/{}", set.namespace().unwrap_or_default(), set.name_any());
        (name, json!({"available": manager.shared.claimer.available(set)}))
    });
    counted.collect()
}

fn without_prefix(context: &Context, path: &str) -> Result<(), ApiError> {
    if context.prefixed {
        return Err(ApiError::new(Code::NotFound, format!("there is no route GET /kruise/api{path}")));
    }
    Ok(())
}

/// Logs, fork and refreshes of a sandbox.
pub(crate) async fn sandbox_extra(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    Path(id): Path<String>,
    uri: Uri,
) -> ApiError {
    context.concerns(&id);
    let what = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    refused(manager.owned(&caller, &id).map(drop), &format!("the call {what} on a sandbox"))
}

/// Template builds.
pub(crate) async fn builds(_: Caller) -> ApiError {
    ApiError::not_supported("building templates")
}

/// Everything below `/volumes`.
pub(crate) async fn volumes(_: Caller) -> ApiError {
    ApiError::not_supported("the volumes API")
}

/// Everything below `/secrets`.
pub(crate) async fn secrets(_: Caller) -> ApiError {
    ApiError::not_supported("the secrets API")
}

/// A missing sandbox stays 404, so that these routes don't tell which ids exist.
fn refused(found: Result<(), ApiError>, what: &str) -> ApiError {
    found.err().unwrap_or_else(|| ApiError::not_supported(what))
}
