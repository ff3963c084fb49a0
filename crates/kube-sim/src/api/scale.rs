//! The scale subresource: replicas of any kind that counts them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Call;
use super::update::{Part, Tracking, commit};
use crate::error::{ApiError, ApiResult, Cause};
use crate::fields::managed::Operation;
use crate::kinds::ScalePaths;
use crate::state::State;

fn at<'a>(object: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(object, |value, member| &value[member])
}

/// The `Scale` of an object.
pub(crate) fn show(call: &Call, paths: &ScalePaths, object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut shown = json!({"name": metadata["name"], "uid": metadata["uid"],
        "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"]});
    if !call.namespace.is_empty() {
        shown["namespace"] = call.namespace.clone().into();
    }
    let mut status = json!({"replicas": at(object, &paths.status).as_i64().unwrap_or(0)});
    if let Some(selector) = selector(paths, object) {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": shown,
        "spec": {"replicas": at(object, &paths.spec).as_i64().unwrap_or(0)}, "status": status,
    })
}

fn selector(paths: &ScalePaths, object: &Value) -> Option<String> {
    if let Some(path) = &paths.selector {
        return at(object, path).as_str().map(str::to_owned);
    }
    let labels = object["spec"]["selector"]["matchLabels"].as_object()?;
    Some(
        labels
            .iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(","),
    )
}

/// Writes `spec.replicas` of a `Scale` to the object.
pub(crate) fn write(
    state: &mut State,
    call: &mut Call,
    paths: &ScalePaths,
    scale: &Value,
) -> ApiResult<Arc<Value>> {
    let name = call.name()?.to_owned();
    let current = state.store.get(&call.address(&name)).ok_or_else(|| call.not_found(&name))?;
    let wanted = &scale["spec"]["replicas"];
    let replicas = if wanted.is_null() { 0 } else { wanted.as_i64().unwrap_or(-1) };
    if replicas < 0 {
        let cause = Cause::invalid("spec.replicas", wanted, "must be greater than or equal to 0");
        return Err(ApiError::invalid("autoscaling", "Scale", &name, &[cause]));
    }
    let before = show(call, paths, &current);
    let mut after = before.clone();
    after["spec"]["replicas"] = replicas.into();
    call.admit(state, "UPDATE", "scale", (Some(&before), Some(&after)))?;
    let mut next = (*current).clone();
    if let Some(version) = scale["metadata"]["resourceVersion"].as_str() {
        next["metadata"]["resourceVersion"] = version.into();
    }
    set(&mut next, &paths.spec, replicas.into()).ok_or_else(|| {
        ApiError::bad_request("the path of the replicas leads through a value that is no object")
    })?;
    let operation = Operation::update(call, "scale");
    commit(state, call, Part::Main, &current, next, &Tracking::Update(&operation))
}

fn set(object: &mut Value, path: &[String], value: Value) -> Option<()> {
    let (last, parents) = path.split_last()?;
    let mut target = object;
    for member in parents {
        target = target.as_object_mut()?.entry(member.clone()).or_insert_with(|| json!({}));
    }
    target.as_object_mut()?.insert(last.clone(), value);
    Some(())
}
