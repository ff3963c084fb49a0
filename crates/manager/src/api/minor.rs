//! Small routes: health, Prometheus, debug, and the calls of the E2B API that answer 501 (`e2b-api.md` §4.12 to
//! §4.14).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use contract::errors::Code;
use http::{StatusCode, Uri, header};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::context::Context;
use crate::error::ApiError;
use crate::keys::Caller;
use crate::manager::Manager;
use crate::sandboxes::Situation;

/// What `GET /metrics` counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    answers: Mutex<BTreeMap<u16, u64>>,
}

impl Counters {
    /// Counts one answer of the control plane.
    pub(crate) fn answered(&self, status: StatusCode) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner).entry(status.as_u16()).or_default() += 1;
    }
}

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
    let mut text = String::new();
    text.push_str("# HELP sandbox_manager_requests_total Answers of the control plane by status.\n");
    text.push_str("# TYPE sandbox_manager_requests_total counter\n");
    for (status, count) in &*manager.shared.counters.answers.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = writeln!(text, "sandbox_manager_requests_total{{status=\"{status}\"}} {count}");
    }
    text.push_str("# HELP sandbox_manager_sandboxes Claimed sandboxes by state.\n");
    text.push_str("# TYPE sandbox_manager_sandboxes gauge\n");
    for (word, count) in states(&manager) {
        let _ = writeln!(text, "sandbox_manager_sandboxes{{state=\"{word}\"}} {count}");
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn states(manager: &Manager) -> BTreeMap<&'static str, usize> {
    let now = manager.now();
    let mut states = BTreeMap::from([("paused", 0), ("running", 0)]);
    for sandbox in manager.shared.sandboxes.select(|_| true) {
        if let Some(word) = Situation::of(&sandbox, now).word() {
            *states.entry(word).or_default() += 1;
        }
    }
    states
}

/// `GET /debug`
pub(crate) async fn debug(State(manager): State<Manager>, caller: Caller) -> Json<Value> {
    Json(json!({
        "caller": caller.name,
        "team": caller.team,
        "synced": manager.is_synced(),
        "sandboxes": states(&manager),
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
