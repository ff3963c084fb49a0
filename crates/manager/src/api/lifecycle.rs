//! Get and kill (`e2b-api.md` §4.5, §4.6).

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Preconditions};
use serde_json::Value;

use super::context::Context;
use super::view::View;
use crate::error::{ApiError, is_not_found};
use crate::keys::Caller;
use crate::manager::Manager;
use crate::sandboxes;

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

/// `DELETE /sandboxes/{id}`. The sandbox is out of every list and route before the answer; its end is asynchronous.
pub(crate) async fn kill(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    context.concerns(&id);
    let (sandbox, _) = manager.owned(&caller, &id)?;
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
