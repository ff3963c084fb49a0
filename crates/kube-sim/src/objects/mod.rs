//! What each built-in kind adds to the generic verbs: defaults, conversions, checks.

mod decode;
mod definitions;
mod names;
mod pods;
mod secrets;
mod volumes;

pub(crate) use pods::CONTAINER_LISTS;
use serde_json::{Value, json};

use crate::admission::validity;
use crate::api::Call;
use crate::api::update::Part;
use crate::error::{ApiError, ApiResult, Cause};
use crate::kinds::{Origin, ResourceType};
use crate::state::seconds;

/// Whether `metadata.generation` counts the changes of this kind's desired state.
pub(crate) fn has_generation(resource: &ResourceType) -> bool {
    match &resource.origin {
        Origin::Builtin(builtin) => builtin.has_generation,
        Origin::Custom(_) => true,
    }
}

/// Completes and checks an object that is to be created.
pub(crate) fn admit_create(call: &mut Call, object: &mut Value) -> ApiResult<()> {
    let mut causes = names::check(&call.resource, object);
    causes.extend(decode::decode(call, object, None)?);
    complete(call, object);
    causes.extend(check(call, object, None));
    refuse(call, object, &causes)
}

/// Completes and checks the next state of an object.
pub(crate) fn admit_update(call: &mut Call, part: Part, current: &Value, next: &mut Value) -> ApiResult<()> {
    let mut causes = names::check_metadata(next);
    causes.extend(names::check_finalizers(current, next));
    causes.extend(decode::decode(call, next, Some(current))?);
    complete(call, next);
    causes.extend(check(call, next, Some((part, current))));
    refuse(call, next, &causes)
}

fn refuse(call: &Call, object: &Value, causes: &[Cause]) -> ApiResult<()> {
    if causes.is_empty() {
        return Ok(());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Err(ApiError::invalid(&call.resource.group, &call.resource.kind, name, causes))
}

fn complete(call: &Call, object: &mut Value) {
    if call.resource.custom().is_some() {
        return;
    }
    match (call.resource.group.as_str(), call.resource.plural.as_str()) {
        ("", "pods") => pods::complete(object, &seconds(call.now)),
        ("", "secrets") => secrets::complete(object),
        ("", "namespaces") => complete_namespace(object),
        ("", "persistentvolumes") => volumes::complete_volume(object),
        ("", "persistentvolumeclaims") => volumes::complete_claim(object),
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            definitions::complete(object, &seconds(call.now));
        }
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => validity::complete_policy(object),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => {
            validity::complete_binding(object);
        }
        _ => {}
    }
}

fn check(call: &Call, object: &Value, before: Option<(Part, &Value)>) -> Vec<Cause> {
    if call.resource.custom().is_some() {
        return Vec::new();
    }
    match (call.resource.group.as_str(), call.resource.plural.as_str()) {
        ("", "pods") => pods::check(object, before),
        ("", "secrets") => secrets::check(object, before.map(|(_, current)| current)),
        ("", "configmaps") => secrets::check_immutable(object, before.map(|(_, current)| current)),
        ("", "persistentvolumes") => volumes::check_volume(object, before.map(|(_, current)| current)),
        ("apiextensions.k8s.io", "customresourcedefinitions") => definitions::check(object),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => validity::check_policy(object),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => {
            validity::check_binding(object)
        }
        _ => Vec::new(),
    }
}

fn complete_namespace(namespace: &mut Value) {
    if namespace["metadata"]["deletionTimestamp"].is_null() {
        if namespace["spec"]["finalizers"].is_null() {
            namespace["spec"]["finalizers"] = json!(["kubernetes"]);
        }
        if namespace["status"]["phase"].is_null() {
            namespace["status"]["phase"] = "Active".into();
        }
    }
    let name = namespace["metadata"]["name"].clone();
    if !namespace["metadata"]["labels"].is_object() {
        namespace["metadata"]["labels"] = json!({});
    }
    namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
}

/// Sets a member that is absent.
pub(crate) fn default(object: &mut Value, member: &str, value: impl Into<Value>) {
    if let Some(members) = object.as_object_mut() {
        let slot = members.entry(member).or_insert(Value::Null);
        if slot.is_null() {
            *slot = value.into();
        }
    }
}

/// The items of a list; nothing when there is none.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn items_mut(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}
