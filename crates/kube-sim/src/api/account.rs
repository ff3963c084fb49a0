//! What a pod gets from its service account when it is created.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Call, create};
use crate::error::{ApiError, ApiResult};
use crate::lifecycle::{DEFAULT_ACCOUNT, ROOT_CERTIFICATE};
use crate::objects::{CONTAINER_LISTS, items, items_mut};
use crate::state::{SERVICE_ACCOUNTS, State};
use crate::store::Address;

/// Where every client library looks for the token, the certificate of the API server and the namespace.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How the volume's name begins; five random letters follow.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// How long the token is valid, in seconds: an hour, and some seconds by which one knows where it came from.
const TOKEN_SECONDS: i64 = 3607;

/// Gives a new pod its service account, that account's pull secrets when it names none itself, and a volume with a
/// token unless `automountServiceAccountToken` of the pod, or else of the account, is `false`.
///
/// # Errors
/// 403 when the account isn't there.
pub(crate) fn admit(state: &State, call: &Call, pod: &mut Value) -> ApiResult<()> {
    if !call.resource.is("", "pods")
        || !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null()
    {
        return Ok(());
    }
    let account = account_of(state, call, pod)?;
    let spec = &mut pod["spec"];
    let wish = [&spec["automountServiceAccountToken"], &account["automountServiceAccountToken"]];
    if wish.into_iter().find_map(Value::as_bool).unwrap_or(true) {
        mount_token(spec);
    }
    if items(&spec["imagePullSecrets"]).is_empty() && !items(&account["imagePullSecrets"]).is_empty() {
        spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    Ok(())
}

/// The service account that the pod names, under the member's present or its former name, or `default`.
fn account_of(state: &State, call: &Call, pod: &mut Value) -> ApiResult<Arc<Value>> {
    let given = ["serviceAccountName", "serviceAccount"]
        .into_iter()
        .find_map(|member| pod["spec"].get(member).and_then(Value::as_str).filter(|name| !name.is_empty()));
    let name = given.unwrap_or(DEFAULT_ACCOUNT).to_owned();
    let address = Address {
        collection: SERVICE_ACCOUNTS.into(),
        namespace: call.namespace.clone(),
        name: name.clone(),
    };
    let Some(account) = state.store.get(&address) else {
        let why = format!(
            "error looking up service account {}/{name}: serviceaccount {name:?} not found",
            call.namespace
        );
        // A name that the server generates isn't known yet when a cluster asks for the account.
        let metadata = &pod["metadata"];
        let pod_name = [&metadata["generateName"], &metadata["name"]].into_iter().find_map(Value::as_str);
        return Err(ApiError::forbidden("", "pods", pod_name.unwrap_or_default(), &why));
    };
    for member in ["serviceAccountName", "serviceAccount"] {
        pod["spec"][member] = name.clone().into();
    }
    Ok(account)
}

/// Mounts the token in each container that mounts nothing at its place. A volume whose name begins like ours is the
/// user's own and taken as it is.
fn mount_token(spec: &mut Value) {
    let own = items(&spec["volumes"])
        .iter()
        .filter_map(|volume| volume["name"].as_str())
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let name = own.clone().unwrap_or_else(|| create::generate_name(VOLUME_PREFIX));
    let mut mounted = false;
    for list in CONTAINER_LISTS {
        if items(&spec[list]).is_empty() {
            continue;
        }
        for container in items_mut(&mut spec[list]) {
            let taken =
                items(&container["volumeMounts"]).iter().any(|mount| mount["mountPath"] == MOUNT_PATH);
            if !taken {
                push(
                    container,
                    "volumeMounts",
                    json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}),
                );
                mounted = true;
            }
        }
    }
    if mounted && own.is_none() {
        push(spec, "volumes", volume(&name));
    }
}

fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": ROOT_CERTIFICATE, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
}

fn push(object: &mut Value, member: &str, item: Value) {
    match object[member].as_array_mut() {
        Some(list) => list.push(item),
        None => object[member] = json!([item]),
    }
}
