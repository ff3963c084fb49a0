//! Deleting objects: preconditions, finalizers, grace and propagation.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, read};
use crate::admission::{self, Asked};
use crate::caller::Caller;
use crate::error::{ApiError, ApiResult};
use crate::http::query::Query;
use crate::kinds::ResourceType;
use crate::lifecycle::{FOREGROUND, ORPHAN, address_of, is_finished};
use crate::objects;
use crate::state::{NAMESPACES, PODS, State, seconds};
use crate::store::Address;

/// What a pod's spec says when it says nothing.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// Facts that must hold for a deletion to happen.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// The body of a delete request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) preconditions: Option<Preconditions>,
    #[serde(rename = "propagationPolicy")]
    pub(crate) policy: Option<String>,
    #[serde(default)]
    pub(crate) orphan_dependents: Option<bool>,
    #[serde(default)]
    pub(crate) dry_run: Vec<String>,
}

impl DeleteOptions {
    /// The options of a body, completed by those of the query.
    pub(crate) fn read(body: Option<Value>, query: &Query) -> ApiResult<Self> {
        let mut options: Self = match body {
            None => Self::default(),
            Some(body) => serde_json::from_value(body).map_err(|error| {
                ApiError::bad_request(format!("DeleteOptions could not be read: {error}"))
            })?,
        };
        if options.grace_period_seconds.is_none() {
            options.grace_period_seconds =
                query.number("gracePeriodSeconds")?.and_then(|seconds| i64::try_from(seconds).ok());
        }
        if options.policy.is_none() {
            options.policy = query.get("propagationPolicy").map(str::to_owned);
        }
        if let Some(other) = options.policy.as_deref()
            && !matches!(other, "Foreground" | "Background" | "Orphan")
        {
            return Err(ApiError::bad_request(format!(
                "invalid DeleteOptions: propagationPolicy: Unsupported value: {other:?}: \
                 supported values: \"Foreground\", \"Background\", \"Orphan\""
            )));
        }
        Ok(options)
    }
}

/// What became of an object that was to be deleted.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// Gone; this was its last state.
    Gone(Arc<Value>),
    /// Its deletion has begun; finalizers or grace hold it.
    Begun(Arc<Value>),
}

/// The verb.
pub(crate) fn delete(state: &mut State, call: &mut Call, options: &DeleteOptions) -> ApiResult<Deleted> {
    let address = call.address(call.name()?);
    if call.dry_run || !options.dry_run.is_empty() {
        let current = state.store.get(&address).ok_or_else(|| call.not_found(&address.name))?;
        call.admit(state, "DELETE", "", (Some(&current), None))?;
        return Ok(Deleted::Gone(current));
    }
    let (deleted, warnings) = delete_object(state, &address, options, call.now, Some(&call.caller))?;
    call.warnings.extend(warnings);
    state.settle(call.now);
    Ok(deleted)
}

/// The same without asking the admission policies, which have been asked in another way.
pub(super) fn delete_admitted(
    state: &mut State,
    call: &Call,
    options: &DeleteOptions,
) -> ApiResult<Arc<Value>> {
    let address = call.address(call.name()?);
    let current = state.store.get(&address).ok_or_else(|| call.not_found(&address.name))?;
    if !call.dry_run && options.dry_run.is_empty() {
        delete_object(state, &address, options, call.now, None)?;
        state.settle(call.now);
    }
    Ok(current)
}

/// Deletes every selected object; the answer is what was selected.
pub(crate) fn delete_collection(
    state: &mut State,
    call: &mut Call,
    options: &DeleteOptions,
) -> ApiResult<Vec<Arc<Value>>> {
    let selected = read::select(state, call)?;
    if call.dry_run || !options.dry_run.is_empty() {
        return Ok(selected);
    }
    for object in &selected {
        // An earlier deletion may have taken this one along; that is no error.
        let address = address_of(&call.resource.collection, object);
        match delete_object(state, &address, options, call.now, Some(&call.caller)) {
            Ok((_, warnings)) => call.warnings.extend(warnings),
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
        state.settle(call.now);
    }
    Ok(selected)
}

/// Deletes one object without drawing the consequences. The admission policies are asked whether the caller may, if one is
/// given; the second part of the answer is what they warn of.
pub(crate) fn delete_object(
    state: &mut State,
    address: &Address,
    options: &DeleteOptions,
    now: Timestamp,
    caller: Option<&Caller>,
) -> ApiResult<(Deleted, Vec<String>)> {
    let resource = state.resource_of(address).ok_or_else(ApiError::no_such_path)?;
    let Some(current) = state.store.get(address) else {
        return Err(ApiError::not_found(&resource.group, &resource.plural, &address.name));
    };
    if let Some(why) = options.preconditions.as_ref().and_then(|wanted| violated(wanted, &current)) {
        return Err(ApiError::conflict(&resource.group, &resource.plural, &address.name, &why));
    }
    if &*address.collection == NAMESPACES
        && matches!(address.name.as_str(), "default" | "kube-system" | "kube-public")
    {
        return Err(ApiError::forbidden(
            "",
            "namespaces",
            &address.name,
            "this namespace may not be deleted",
        ));
    }
    let mut next = (*current).clone();
    set_propagation(&mut next, options);
    let grace = grace_seconds(address, &current, options);
    let begun = current["metadata"]["deletionTimestamp"].as_str().is_some();
    let left = current["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    if !begun || grace < left {
        let deadline = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
        next["metadata"]["deletionTimestamp"] = seconds(deadline).into();
        next["metadata"]["deletionGracePeriodSeconds"] = grace.into();
    }
    if !begun && objects::has_generation(&resource) {
        next["metadata"]["generation"] = (current["metadata"]["generation"].as_i64().unwrap_or(0) + 1).into();
    }
    if &*address.collection == NAMESPACES {
        next["status"]["phase"] = "Terminating".into();
    }
    if next == *current && !is_finished(&next) {
        return Ok((Deleted::Begun(current), Vec::new()));
    }
    let warnings = match caller {
        None => Vec::new(),
        Some(caller) => admission::admit(state, &asked(caller, &resource, address, &current))?,
    };
    if is_finished(&next) {
        return state
            .remove(address)
            .map(|gone| (Deleted::Gone(gone), warnings))
            .ok_or_else(|| ApiError::not_found(&resource.group, &resource.plural, &address.name));
    }
    Ok((Deleted::Begun(state.put(address, next)), warnings))
}

fn asked<'a>(
    caller: &'a Caller,
    resource: &'a ResourceType,
    address: &'a Address,
    current: &'a Value,
) -> Asked<'a> {
    Asked {
        caller,
        resource,
        subresource: "",
        operation: "DELETE",
        namespace: &address.namespace,
        name: &address.name,
        object: None,
        old: Some(current),
        dry_run: false,
    }
}

fn violated(wanted: &Preconditions, current: &Value) -> Option<String> {
    let metadata = &current["metadata"];
    let differs = |name: &str, member: &str, wanted: &Option<String>| {
        let wanted = wanted.as_deref()?;
        let found = metadata[member].as_str().unwrap_or_default();
        (found != wanted).then(|| {
            format!("Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {found}")
        })
    };
    differs("UID", "uid", &wanted.uid)
        .or_else(|| differs("ResourceVersion", "resourceVersion", &wanted.resource_version))
}

/// Foreground and orphan deletion are finalizers that the garbage collector answers.
fn set_propagation(object: &mut Value, options: &DeleteOptions) {
    let policy = match (options.policy.as_deref(), options.orphan_dependents) {
        (Some(policy), _) => policy,
        (None, Some(true)) => "Orphan",
        (None, Some(false)) => "Background",
        (None, None) => return,
    };
    let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    finalizers.retain(|finalizer| finalizer != FOREGROUND && finalizer != ORPHAN);
    match policy {
        "Foreground" => finalizers.push(FOREGROUND.into()),
        "Orphan" => finalizers.push(ORPHAN.into()),
        _ => {}
    }
    if !finalizers.is_empty() {
        object["metadata"]["finalizers"] = finalizers.into();
    } else if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("finalizers");
    }
}

/// Only pods have grace, and only those that a kubelet is to stop.
fn grace_seconds(address: &Address, object: &Value, options: &DeleteOptions) -> i64 {
    let unscheduled = object["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let over = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if &*address.collection != PODS || unscheduled || over {
        return 0;
    }
    options
        .grace_period_seconds
        .or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(DEFAULT_GRACE_SECONDS)
        .max(0)
}

/// The answer to a deletion that left nothing: a `Status` that names the object.
pub(crate) fn success(call: &Call, object: &Value) -> Value {
    let mut details = json!({
        "name": object["metadata"]["name"], "kind": call.resource.plural, "uid": object["metadata"]["uid"],
    });
    if !call.resource.group.is_empty() {
        details["group"] = call.resource.group.clone().into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
