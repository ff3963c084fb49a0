//! Templates, read only (`e2b-api.md` §4.11): every SandboxSet that the caller's team sees is one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use contract::crd::SandboxSet;
use contract::errors::Code;
use http::StatusCode;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::keys::Caller;
use crate::manager::Manager;

/// `GET /templates`
pub(crate) async fn list(State(manager): State<Manager>, caller: Caller) -> Json<Vec<Value>> {
    let templates = visible(&manager, &caller);
    Json(templates.iter().map(|set| summary(&manager, set)).collect())
}

/// `GET /templates/{id}`
pub(crate) async fn get(
    State(manager): State<Manager>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let set = find(&manager, &caller, &id)?;
    Ok(Json(details(&manager, &set)))
}

/// `DELETE /templates/{id}` deletes snapshots; a pool is not the caller's to delete.
pub(crate) async fn delete(
    State(manager): State<Manager>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let Err(missing) = find(&manager, &caller, &id) else {
        let message =
            format!("template {id:?} is backed by a SandboxSet and cannot be deleted through this API");
        return Err(ApiError::new(Code::Forbidden, message));
    };
    let snapshot = manager.snapshot(&caller, &id).ok_or(missing)?;
    manager.delete_snapshot(&snapshot).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn find(manager: &Manager, caller: &Caller, id: &str) -> Result<Arc<SandboxSet>, ApiError> {
    let found = visible(manager, caller).into_iter().find(|set| set.name_any() == id);
    found.ok_or_else(|| ApiError::new(Code::NotFound, format!("template or snapshot {id:?} not found")))
}

fn visible(manager: &Manager, caller: &Caller) -> Vec<Arc<SandboxSet>> {
    let mut sets = manager.shared.sets.select(|set| caller.sees(&set.namespace().unwrap_or_default()));
    sets.sort_by_key(|set| (set.name_any(), set.namespace()));
    sets
}

fn created(set: &SandboxSet) -> String {
    set.creation_timestamp().map(|time| time.0).unwrap_or_default().to_string()
}

fn summary(manager: &Manager, set: &SandboxSet) -> Value {
    let name = set.name_any();
    let resources = manager.resources_of_set(set);
    json!({
        "templateID": name,
        "buildID": set.uid().unwrap_or_default(),
        "cpuCount": resources.milli_cpu / 1000,
        "memoryMB": resources.memory_mb,
        "diskSizeMB": resources.disk_mb,
        "buildCount": 1,
        "public": true,
        "aliases": [name],
        "names": [name],
        "createdAt": created(set),
        "updatedAt": created(set),
        "createdBy": null,
        "lastSpawnedAt": null,
        "spawnCount": 0,
        "envdVersion": manager.shared.options.envd_version,
        "buildStatus": "ready",
    })
}

fn details(manager: &Manager, set: &SandboxSet) -> Value {
    let name = set.name_any();
    let resources = manager.resources_of_set(set);
    json!({
        "templateID": name,
        "public": true,
        "aliases": [name],
        "names": [name],
        "createdAt": created(set),
        "updatedAt": created(set),
        "lastSpawnedAt": null,
        "spawnCount": 0,
        "builds": [{
            "buildID": set.uid().unwrap_or_default(),
            "status": "ready",
            "createdAt": created(set),
            "updatedAt": created(set),
            "finishedAt": created(set),
            "cpuCount": resources.milli_cpu / 1000,
            "memoryMB": resources.memory_mb,
            "diskSizeMB": resources.disk_mb,
            "envdVersion": manager.shared.options.envd_version,
        }],
    })
}
