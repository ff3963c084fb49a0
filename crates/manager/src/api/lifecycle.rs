//! Get and kill (`e2b-api.md` §4.5, §4.6).

use axum::Json;
use axum::extract::{Path, State};
use contract::crd::Sandbox;
use contract::names::annotations;
use contract::recycling;
use http::StatusCode;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use super::context::Context;
use super::view::View;
use crate::error::{ApiError, is_conflict, is_not_found};
use crate::keys::Caller;
use crate::manager::Manager;
use crate::sandboxes;

/// How often it is tried to recycle a sandbox that somebody else changes meanwhile.
const TRIES: u32 = 5;

/// `GET /sandboxes/{id}`
pub(crate) async fn get(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    context.concerns(&id);
    let (sandbox, situation) = manager.owned(&caller, &id)?;
    Ok(Json(View::new(&manager, &context, &sandbox, situation)?.with_token().with_network().value()))
}

/// `DELETE /sandboxes/{id}`. The sandbox is out of every list and route before the answer; its end is asynchronous. One
/// that may be recycled goes back to its pool, cleaned by the controller.
pub(crate) async fn kill(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    context.concerns(&id);
    let (sandbox, _) = manager.owned(&caller, &id)?;
    if give_back(&manager, &sandbox).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let cache = &manager.shared.sandboxes;
    cache.bury(&sandbox);
    let key = sandboxes::key(&sandbox);
    let same_object = Preconditions { uid: sandbox.uid(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(same_object), ..DeleteParams::default() };
    match manager.sandbox_api(&key.namespace).delete(&key.name, &parameters).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(error) if is_not_found(&error) => Ok(StatusCode::NO_CONTENT),
        Err(error) => {
            cache.unbury(&sandbox);
            Err(ApiError::kubernetes("delete the sandbox", &error).about(&key.namespace, &key.name))
        }
    }
}

/// Tells the controller to recycle the sandbox, where it can be; whether it was told. Written on the version that was
/// looked at: a sandbox that changes all the time is deleted.
async fn give_back(manager: &Manager, sandbox: &Sandbox) -> Result<bool, ApiError> {
    let key = sandboxes::key(sandbox);
    let api = manager.sandbox_api(&key.namespace);
    let failed = |error| ApiError::kubernetes("recycle the sandbox", &error).about(&key.namespace, &key.name);
    let mut newest = sandbox.clone();
    for _ in 0..TRIES {
        if !recycling::can_return(&newest) || newest.uid() != sandbox.uid() {
            return Ok(false);
        }
        let metadata = json!({
            "resourceVersion": newest.resource_version(),
            "annotations": {annotations::CLEANUP: "true"},
        });
        let patch = Patch::Merge(json!({"metadata": metadata}));
        match api.patch(&key.name, &PatchParams::default(), &patch).await {
            Ok(written) => {
                manager.shared.sandboxes.observe(written);
                return Ok(true);
            }
            Err(error) if is_not_found(&error) => return Ok(false),
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(failed(error)),
        }
        match api.get_opt(&key.name).await.map_err(failed)? {
            Some(found) => newest = found,
            None => return Ok(false),
        }
    }
    Ok(false)
}
