//! What only pods have: binding to a node, logs, and commands in them.

use http::request::Parts;
use serde_json::{Value, json};

use super::Call;
use super::delete::{DeleteOptions, delete_admitted};
use super::read;
use crate::error::{ApiError, ApiResult};
use crate::exec;
use crate::http::reply::{self, Reply};
use crate::logs::LogOptions;
use crate::server::Server;
use crate::state::{State, seconds};

/// Assigns a pod to the node that a `Binding` names.
pub(crate) fn bind(state: &mut State, call: &mut Call, binding: &Value) -> ApiResult<()> {
    let name = call.name()?.to_owned();
    let pod = read::get(state, call)?;
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(ApiError::bad_request("binding: target.name is required"));
    }
    call.admit(state, "CREATE", "binding", (None, Some(binding)))?;
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return Err(
            call.conflict(&name, &format!("pod {name} is being deleted, cannot be assigned to a host"))
        );
    }
    if let Some(bound) = pod["spec"]["nodeName"].as_str().filter(|bound| !bound.is_empty()) {
        return Err(call.conflict(&name, &format!("pod {name} is already assigned to node {bound:?}")));
    }
    let mut next = (*pod).clone();
    next["spec"]["nodeName"] = node.into();
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    conditions.push(json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": seconds(call.now)}));
    next["status"]["conditions"] = conditions.into();
    state.put(&call.address(&name), next);
    state.settle(call.now);
    Ok(())
}

/// Deletes a pod as an `Eviction` asks for it. Admission policies are asked about the eviction, not about the deletion.
pub(crate) fn evict(state: &mut State, call: &mut Call, eviction: &Value) -> ApiResult<()> {
    let options = eviction.get("deleteOptions").filter(|options| !options.is_null()).cloned();
    let options = DeleteOptions::read(options, &call.query)?;
    read::get(state, call)?;
    call.admit(state, "CREATE", "eviction", (None, Some(eviction)))?;
    delete_admitted(state, call, &options)?;
    Ok(())
}

/// A container's log, from whoever runs the pods.
pub(crate) async fn log(server: &Server, call: &Call) -> ApiResult<Reply> {
    let pod = read::get(&server.state(), call)?;
    let name = call.name()?;
    let container = container(call, &pod, name)?;
    let options = LogOptions::read(&call.query)?;
    let Some(source) = server.logs() else {
        return Err(ApiError::new(500, "InternalError", "no node is there that could show the log of a pod"));
    };
    let stream = source
        .logs(&call.namespace, name, &container, options)
        .await
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(reply::stream("text/plain", stream))
}

/// A command in a container, by whoever runs the pods.
pub(crate) fn exec(server: &Server, request: &Parts, call: &Call) -> ApiResult<Reply> {
    let pod = read::get(&server.state(), call)?;
    let name = call.name()?.to_owned();
    let container = container(call, &pod, &name)?;
    exec::answer(server, request, &call.query, (call.namespace.clone(), name, container))
}

fn container(call: &Call, pod: &Value, name: &str) -> ApiResult<String> {
    let names = |list: &str| -> Vec<String> {
        let items = pod["spec"][list].as_array().into_iter().flatten();
        items.filter_map(|container| container["name"].as_str()).map(str::to_owned).collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    if let Some(wanted) = call.query.get("container") {
        if main.iter().chain(&init).any(|container| container == wanted) {
            return Ok(wanted.to_owned());
        }
        return Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {name}")));
    }
    let annotated = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    match (annotated, main.as_slice()) {
        (Some(container), _) => Ok(container.to_owned()),
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}] or one of the init containers: [{}]",
            main.join(" "),
            init.join(" ")
        ))),
    }
}
