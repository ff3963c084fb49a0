//! Creating objects.

use std::sync::Arc;

use rand::Rng as _;
use serde_json::{Value, json};

use super::{Call, account};
use crate::error::{ApiError, ApiResult, Cause};
use crate::fields::managed::{self, Operation};
use crate::objects;
use crate::state::{NAMESPACES, State, new_uid, seconds};
use crate::store::Address;

/// The letters that Kubernetes makes name suffixes of: no vowels, so no words.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// A generated name keeps this much of its prefix.
const LONGEST_PREFIX: usize = 58;

/// Creates an object; the answer is what was stored.
pub(crate) fn create(state: &mut State, call: &mut Call, body: Value) -> ApiResult<Arc<Value>> {
    call.check_kind(&body)?;
    let mut object = body;
    prepare_metadata(call, &mut object)?;
    drop_status(call, &mut object);
    let mut object = call.resource.store(object);
    objects::admit_create(call, &mut object)?;
    managed::track(None, &mut object, &Operation::update(call, ""));
    insert(state, call, object)
}

/// Stores a new object that is complete but for its identity.
pub(crate) fn insert(state: &mut State, call: &mut Call, mut object: Value) -> ApiResult<Arc<Value>> {
    let resource = Arc::clone(&call.resource);
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let address = call.address(&name);
    // Here and not earlier: what is wrong with an object is said before where it can't be.
    check_namespace(state, call, &name)?;
    account::admit(state, call, &mut object)?;
    call.admit(state, "CREATE", "", (None, Some(&object)))?;
    if state.store.get(&address).is_some() {
        return Err(ApiError::already_exists(&resource.group, &resource.plural, &name));
    }
    let metadata = &mut object["metadata"];
    metadata["uid"] = new_uid().into();
    metadata["creationTimestamp"] = seconds(call.now).into();
    if objects::has_generation(&resource) {
        metadata["generation"] = 1.into();
    }
    if call.dry_run {
        return Ok(Arc::new(object));
    }
    let stored = state.put(&address, object);
    state.settle(call.now);
    Ok(stored)
}

/// Completes name and namespace and takes out what only the server may write.
pub(crate) fn prepare_metadata(call: &Call, object: &mut Value) -> ApiResult<()> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["apiVersion"] = call.resource.api_version().into();
    object["kind"] = call.resource.kind.clone().into();
    let metadata = &mut object["metadata"];
    if let Some(version) = metadata["resourceVersion"].as_str()
        && !version.is_empty()
        && version != "0"
    {
        return Err(ApiError::new(
            500,
            "InternalError",
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if let Some(members) = metadata.as_object_mut() {
        for name in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "resourceVersion",
            "generation",
        ] {
            members.remove(name);
        }
    }
    prepare_namespace(call, metadata)?;
    prepare_name(call, metadata)
}

fn prepare_namespace(call: &Call, metadata: &mut Value) -> ApiResult<()> {
    let found = metadata["namespace"].as_str().unwrap_or_default();
    if !found.is_empty() && found != call.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if call.namespace.is_empty() {
        if let Some(members) = metadata.as_object_mut() {
            members.remove("namespace");
        }
    } else {
        metadata["namespace"] = call.namespace.clone().into();
    }
    Ok(())
}

fn prepare_name(call: &Call, metadata: &mut Value) -> ApiResult<()> {
    let name = metadata["name"].as_str().unwrap_or_default();
    let prefix = metadata["generateName"].as_str().unwrap_or_default();
    if name.is_empty() {
        if prefix.is_empty() {
            let cause = Cause::required("metadata.name", "name or generateName is required");
            return Err(ApiError::invalid(&call.resource.group, &call.resource.kind, "", &[cause]));
        }
        metadata["name"] = generate_name(prefix).into();
    }
    Ok(())
}

pub(super) fn generate_name(prefix: &str) -> String {
    let mut random = rand::rng();
    let suffix = (0..SUFFIX_LENGTH)
        .filter_map(|_| SUFFIX_LETTERS.get(random.random_range(0..SUFFIX_LETTERS.len())))
        .map(|letter| char::from(*letter));
    prefix.chars().take(LONGEST_PREFIX).chain(suffix).collect()
}

/// A kind with a status subresource takes no status from its creator.
fn drop_status(call: &Call, object: &mut Value) {
    if call.resource.has_status
        && let Some(members) = object.as_object_mut()
    {
        members.remove("status");
    }
}

fn check_namespace(state: &State, call: &Call, name: &str) -> ApiResult<()> {
    if call.namespace.is_empty() {
        return Ok(());
    }
    let address =
        Address { collection: NAMESPACES.into(), namespace: String::new(), name: call.namespace.clone() };
    let Some(namespace) = state.store.get(&address) else {
        return Err(ApiError::not_found("", "namespaces", &call.namespace));
    };
    if namespace["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {} because it is being terminated",
        call.namespace
    );
    let mut error = ApiError::forbidden(&call.resource.group, &call.resource.plural, name, &why);
    if let Some(details) = &mut error.details {
        details["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {} is being terminated", call.namespace),
            "field": "metadata.namespace",
        }]);
    }
    Err(error)
}
