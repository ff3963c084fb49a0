//! What follows from a write: garbage collection, the end of namespaces and of custom kinds.
//!
//! A cluster draws these consequences in controllers that run a moment later; here they are drawn before the lock is
//! released, so they are always complete and cost no waiting.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::delete::{DeleteOptions, delete_object};
use crate::caller::Caller;
use crate::error::ApiResult;
use crate::state::{
    CONFIG_MAPS, DEFINITIONS, NAMESPACES, Pending, SERVICE_ACCOUNTS, State, new_uid, seconds,
};
use crate::store::Address;

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";
/// The service account of pods that name none; every namespace has it.
pub(crate) const DEFAULT_ACCOUNT: &str = "default";
/// The ConfigMap with the API server's certificate; every namespace has it.
pub(crate) const ROOT_CERTIFICATE: &str = "kube-root-ca.crt";
/// Keeps a definition until its objects are gone.
pub(crate) const DEFINITION_CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

pub(crate) fn draw_consequences(state: &mut State, pending: &Pending, now: Timestamp) {
    match pending {
        Pending::Written(address) => look_at(state, address, now),
        Pending::Removed(object, address) => after_removal(state, object, address, now),
    }
}

/// What the present state of an object demands.
fn look_at(state: &mut State, address: &Address, now: Timestamp) {
    let Some(object) = state.store.get(address) else { return };
    let dying = !object["metadata"]["deletionTimestamp"].is_null();
    if dying && &*address.collection == NAMESPACES {
        empty_namespace(state, address, &object, now);
    } else if &*address.collection == NAMESPACES {
        furnish_namespace(state, address, now);
    } else if &*address.collection == CONFIG_MAPS && address.name == ROOT_CERTIFICATE {
        look_at(state, &namespace_of(address), now);
    } else if dying && &*address.collection == DEFINITIONS {
        empty_definition(state, address, &object, now);
    } else if dying && has_finalizer(&object, FOREGROUND) {
        delete_dependents_first(state, address, &object, now);
    } else if dying && has_finalizer(&object, ORPHAN) {
        orphan_dependents(state, address, &object);
    }
    if !owners(&object).is_empty() {
        collect_if_ownerless(state, address, &object, now);
    }
}

fn after_removal(state: &mut State, object: &Value, address: &Address, now: Timestamp) {
    if let Some(uid) = object["metadata"]["uid"].as_str() {
        for dependent in state.store.dependents(uid) {
            look_at(state, &dependent, now);
        }
    }
    for owner in owners(object) {
        if let Some(owner) = owner["uid"].as_str().and_then(|uid| state.store.locate(uid)).cloned() {
            look_at(state, &owner, now);
        }
    }
    if !address.namespace.is_empty() {
        look_at(state, &namespace_of(address), now);
    }
    if let Some((group, plural)) = address.collection.split_once('/')
        && !group.is_empty()
    {
        let definition = Address {
            collection: DEFINITIONS.into(),
            namespace: String::new(),
            name: format!("{plural}.{group}"),
        };
        look_at(state, &definition, now);
    }
}

fn owners(object: &Value) -> &[Value] {
    object["metadata"]["ownerReferences"].as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == finalizer))
}

pub(crate) fn without_finalizer(object: &Value, finalizer: &str) -> Value {
    let mut object = object.clone();
    if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|one| one != finalizer);
        if finalizers.is_empty()
            && let Some(metadata) = object["metadata"].as_object_mut()
        {
            metadata.remove("finalizers");
        }
    }
    object
}

/// Writes an object whose finalizers changed, or removes it when nothing holds it any longer.
fn write_or_finish(state: &mut State, address: &Address, object: Value) {
    if is_finished(&object) {
        state.remove(address);
    } else {
        state.put(address, object);
    }
}

/// Whether a deletion has nothing left to wait for.
pub(crate) fn is_finished(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let finalizers = metadata["finalizers"].as_array().map_or(0, Vec::len);
    let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let namespace_finalizers = if object["kind"] == "Namespace" {
        object["spec"]["finalizers"].as_array().map_or(0, Vec::len)
    } else {
        0
    };
    !metadata["deletionTimestamp"].is_null() && finalizers == 0 && grace == 0 && namespace_finalizers == 0
}

fn namespace_of(address: &Address) -> Address {
    Address { collection: NAMESPACES.into(), namespace: String::new(), name: address.namespace.clone() }
}

/// Every namespace has a service account `default` and a ConfigMap with the API server's certificate, also after
/// somebody deleted or changed them.
fn furnish_namespace(state: &mut State, namespace: &Address, now: Timestamp) {
    let within = |collection: &str, name: &str| Address {
        collection: collection.into(),
        namespace: namespace.name.clone(),
        name: name.to_owned(),
    };
    let metadata = |name: &str| {
        json!({
            "name": name, "namespace": namespace.name, "uid": new_uid(), "creationTimestamp": seconds(now),
        })
    };
    let account = within(SERVICE_ACCOUNTS, DEFAULT_ACCOUNT);
    if state.store.get(&account).is_none() {
        let object =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(DEFAULT_ACCOUNT)});
        state.put(&account, object);
    }
    let Some(certificate) = &state.root_certificate else { return };
    let data = json!({"ca.crt": certificate});
    let map = within(CONFIG_MAPS, ROOT_CERTIFICATE);
    match state.store.get(&map) {
        None => {
            let metadata = metadata(ROOT_CERTIFICATE);
            state.put(
                &map,
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}),
            );
        }
        Some(found) if found["data"] != data || !found["binaryData"].is_null() => {
            let mut restored = (*found).clone();
            restored["data"] = data;
            if let Some(members) = restored.as_object_mut() {
                members.remove("binaryData");
            }
            state.put(&map, restored);
        }
        Some(_) => {}
    }
}

fn empty_namespace(state: &mut State, address: &Address, namespace: &Value, now: Timestamp) {
    for content in state.store.in_namespace(&address.name) {
        begin_delete(state, &content, now);
    }
    if state.store.in_namespace(&address.name).is_empty() && !namespace["spec"]["finalizers"].is_null() {
        let mut namespace = namespace.clone();
        if let Some(spec) = namespace["spec"].as_object_mut() {
            spec.remove("finalizers");
        }
        write_or_finish(state, address, namespace);
    }
}

fn empty_definition(state: &mut State, address: &Address, definition: &Value, now: Timestamp) {
    if !has_finalizer(definition, DEFINITION_CLEANUP) {
        return;
    }
    let spec = &definition["spec"];
    let collection = format!(
        "{}/{}",
        spec["group"].as_str().unwrap_or_default(),
        spec["names"]["plural"].as_str().unwrap_or_default()
    );
    for object in state.store.list(&collection, None) {
        begin_delete(state, &address_of(&collection, &object), now);
    }
    if state.store.list(&collection, None).is_empty() {
        write_or_finish(state, address, without_finalizer(definition, DEFINITION_CLEANUP));
    }
}

/// Where an object of a collection is stored.
pub(crate) fn address_of(collection: &str, object: &Value) -> Address {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    Address { collection: collection.into(), namespace: text("namespace"), name: text("name") }
}

/// Deletes as the garbage collector, which asks the admission policies as everybody does. A cluster's tries again when it is
/// refused; this one says so and leaves the object until something else makes it look.
fn collect(state: &mut State, address: &Address, options: &DeleteOptions, now: Timestamp) -> ApiResult<()> {
    delete_object(state, address, options, now, Some(&Caller::garbage_collector())).map(drop)
}

/// Starts a deletion unless it has begun; one that was refused or finished meanwhile needs nothing more.
fn begin_delete(state: &mut State, address: &Address, now: Timestamp) {
    let begun =
        state.store.get(address).is_none_or(|object| !object["metadata"]["deletionTimestamp"].is_null());
    if begun {
        return;
    }
    if let Err(error) = collect(state, address, &DeleteOptions::default(), now) {
        tracing::warn!(%address, %error, "the garbage collector could not delete an object");
    }
}

fn delete_dependents_first(state: &mut State, address: &Address, owner: &Value, now: Timestamp) {
    let uid = owner["metadata"]["uid"].as_str().unwrap_or_default();
    for dependent in state.store.dependents(uid) {
        let blocks = state.store.get(&dependent).is_some_and(|object| blocks_deletion(&object, uid));
        let options =
            DeleteOptions { policy: blocks.then(|| "Foreground".to_owned()), ..DeleteOptions::default() };
        let fresh = state
            .store
            .get(&dependent)
            .is_some_and(|object| object["metadata"]["deletionTimestamp"].is_null());
        if fresh && let Err(error) = collect(state, &dependent, &options, now) {
            tracing::warn!(address = %dependent, %error, "the garbage collector could not delete a dependent");
        }
    }
    let blocked = state
        .store
        .dependents(uid)
        .iter()
        .any(|dependent| state.store.get(dependent).is_some_and(|object| blocks_deletion(&object, uid)));
    if !blocked && let Some(current) = state.store.get(address) {
        write_or_finish(state, address, without_finalizer(&current, FOREGROUND));
    }
}

fn blocks_deletion(dependent: &Value, owner_uid: &str) -> bool {
    owners(dependent).iter().any(|owner| owner["uid"] == owner_uid && owner["blockOwnerDeletion"] == true)
}

fn orphan_dependents(state: &mut State, address: &Address, owner: &Value) {
    let uid = owner["metadata"]["uid"].as_str().unwrap_or_default();
    for dependent in state.store.dependents(uid) {
        if let Some(object) = state.store.get(&dependent) {
            state.put(&dependent, without_owners(&object, |owner| owner["uid"] == uid));
        }
    }
    if let Some(current) = state.store.get(address) {
        write_or_finish(state, address, without_finalizer(&current, ORPHAN));
    }
}

fn without_owners(object: &Value, drop: impl Fn(&Value) -> bool) -> Value {
    let mut object = object.clone();
    if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
        owners.retain(|owner| !drop(owner));
        if owners.is_empty()
            && let Some(metadata) = object["metadata"].as_object_mut()
        {
            metadata.remove("ownerReferences");
        }
    }
    object
}

/// Deletes an object none of whose owners is left; takes the references to vanished owners out of one with others.
fn collect_if_ownerless(state: &mut State, address: &Address, object: &Arc<Value>, now: Timestamp) {
    let present = |state: &State, owner: &Value| {
        owner["uid"]
            .as_str()
            .and_then(|uid| state.store.locate(uid))
            .is_some_and(|found| found.namespace.is_empty() || found.namespace == address.namespace)
    };
    let left = owners(object).iter().filter(|owner| present(state, owner)).count();
    if left == 0 {
        begin_delete(state, address, now);
    } else if left < owners(object).len() {
        let kept = without_owners(object, |owner| !present(state, owner));
        state.put(address, kept);
    }
}

/// The conditions that a definition has as soon as it is served.
pub(crate) fn established(now: &str) -> Value {
    json!([
        {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found",
         "lastTransitionTime": now},
        {"type": "Established", "status": "True", "reason": "InitialNamesAccepted",
         "message": "the initial names have been accepted", "lastTransitionTime": now},
    ])
}
