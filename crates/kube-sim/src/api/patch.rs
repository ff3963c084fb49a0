//! Patching objects: four kinds of patch, one way to commit.

use std::sync::Arc;

use serde_json::Value;

use super::update::{Part, Tracking, commit};
use super::{Call, create};
use crate::error::{ApiError, ApiResult, Cause};
use crate::fields::apply;
use crate::fields::managed::Operation;
use crate::objects;

use crate::state::State;

/// A patch, by its content type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchType {
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        Some(match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Self::Json,
            "application/merge-patch+json" => Self::Merge,
            "application/strategic-merge-patch+json" => Self::Strategic,
            "application/apply-patch+yaml" => Self::Apply,
            _ => return None,
        })
    }
}

/// Patches an object, or creates it when an apply finds none. The second part of the answer tells whether it did.
pub(crate) fn patch(
    state: &mut State,
    call: &mut Call,
    part: Part,
    kind: PatchType,
    patch: Value,
) -> ApiResult<(Arc<Value>, bool)> {
    let name = call.name()?.to_owned();
    let current = state.store.get(&call.address(&name));
    if kind == PatchType::Apply {
        return apply_configuration(state, call, part, current, patch);
    }
    let current = current.ok_or_else(|| call.not_found(&name))?;
    let shown = if call.resource.converts() { call.resource.present(&current) } else { (*current).clone() };
    let proposed = match kind {
        PatchType::Json => patched(shown, patch)?,
        PatchType::Merge => {
            let mut next = shown;
            json_patch::merge(&mut next, &patch);
            next
        }
        PatchType::Strategic | PatchType::Apply => {
            if call.resource.custom().is_some() {
                return Err(ApiError::unsupported_media_type("application/strategic-merge-patch+json"));
            }
            let mut next = shown;
            strategic_merge::merge(&mut next, &patch).map_err(ApiError::bad_request)?;
            next
        }
    };
    check_identity(call, &name, &proposed)?;
    let operation = Operation::update(call, part.subresource());
    let proposed = call.resource.store(proposed);
    Ok((commit(state, call, part, &current, proposed, &Tracking::Update(&operation))?, false))
}

fn patched(mut object: Value, patch: Value) -> ApiResult<Value> {
    let steps: json_patch::Patch = serde_json::from_value(patch)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    // Without details: kubectl shows the message only when they name no object.
    json_patch::patch(&mut object, &steps).map_err(|error| {
        let message = format!("the server rejected our request due to an error in our request: {error}");
        ApiError::new(422, "Invalid", message)
    })?;
    Ok(object)
}

fn check_identity(call: &Call, name: &str, proposed: &Value) -> ApiResult<()> {
    call.check_kind(proposed)?;
    let found = &proposed["metadata"]["name"];
    if *found == *name {
        return Ok(());
    }
    let cause = Cause::invalid("metadata.name", found, "field is immutable");
    Err(ApiError::invalid(&call.resource.group, &call.resource.kind, name, &[cause]))
}

fn apply_configuration(
    state: &mut State,
    call: &mut Call,
    part: Part,
    current: Option<Arc<Value>>,
    mut applied: Value,
) -> ApiResult<(Arc<Value>, bool)> {
    if call.query.get("fieldManager").is_none() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &[cause]));
    }
    call.check_kind(&applied)?;
    let name = call.name()?.to_owned();
    if !applied["metadata"]["managedFields"].is_null() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    if applied["metadata"]["name"].is_null() {
        applied["metadata"]["name"] = name.clone().into();
    }
    check_identity(call, &name, &applied)?;
    keep_part(call, part, &mut applied);
    let operation = Operation::apply(call, part.subresource());
    let force = call.query.flag("force");
    let Some(current) = current else {
        if part != Part::Main {
            return Err(call.not_found(&name));
        }
        create::prepare_metadata(call, &mut applied)?;
        let mut object = call.resource.store(applied.clone());
        apply::first(&mut object, &operation);
        objects::admit_create(call, &mut object)?;
        return Ok((create::insert(state, call, object)?, true));
    };
    let applied = call.resource.store(applied);
    if let Some(version) = applied["metadata"]["resourceVersion"].as_str()
        && current["metadata"]["resourceVersion"] != version
    {
        return Err(call.modified(&name));
    }
    let proposed = apply::apply(&current, applied, &operation, force)?;
    Ok((commit(state, call, part, &current, proposed, &Tracking::Done)?, false))
}

/// A configuration says something only about the part that it is applied to.
fn keep_part(call: &Call, part: Part, applied: &mut Value) {
    let Some(members) = applied.as_object_mut() else { return };
    match part {
        Part::Main if call.resource.has_status => {
            members.remove("status");
        }
        Part::Status => {
            members.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            let metadata = members.get_mut("metadata").and_then(Value::as_object_mut);
            if let Some(metadata) = metadata {
                metadata.retain(|name, _| {
                    matches!(name.as_str(), "name" | "namespace" | "resourceVersion" | "uid")
                });
            }
        }
        _ => {}
    }
}
