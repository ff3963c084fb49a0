//! Replacing objects, as a whole or through a subresource. A patch ends here too.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Call;
use crate::error::{ApiError, ApiResult, Cause};
use crate::fields::managed::{self, Operation};
use crate::lifecycle::is_finished;
use crate::objects;
use crate::state::State;

/// Metadata that only the server writes.
const SERVERS_OWN: [&str; 6] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"];

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// Everything but the status of a kind that has a status subresource.
    Main,
    Status,
    /// Of a pod: the resources of its containers.
    Resize,
    /// Of a pod: its ephemeral containers.
    EphemeralContainers,
    /// Of a namespace: `spec.finalizers`.
    Finalize,
}

impl Part {
    /// The name that managed fields record.
    pub(crate) fn subresource(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Resize => "resize",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Finalize => "finalize",
        }
    }
}

/// Replaces an object by `body`.
pub(crate) fn replace(state: &mut State, call: &mut Call, part: Part, body: Value) -> ApiResult<Arc<Value>> {
    call.check_kind(&body)?;
    let name = call.name()?.to_owned();
    let found = body["metadata"]["name"].as_str().unwrap_or_default();
    if !found.is_empty() && found != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({found}) does not match the name on the URL ({name})"
        )));
    }
    let current = state.store.get(&call.address(&name)).ok_or_else(|| call.not_found(&name))?;
    if call.resource.custom().is_some()
        && body["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty()
    {
        let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
        return Err(ApiError::invalid(&call.resource.group, &call.resource.kind, &name, &[cause]));
    }
    let operation = Operation::update(call, part.subresource());
    let body = call.resource.store(body);
    commit(state, call, part, &current, body, &Tracking::Update(&operation))
}

/// How managed fields follow a write.
#[derive(Debug)]
pub(crate) enum Tracking<'a> {
    /// What changed belongs to the operation's manager.
    Update(&'a Operation),
    /// The object carries its managed fields already.
    Done,
}

/// Checks and writes the next state of an object, given in stored form.
pub(crate) fn commit(
    state: &mut State,
    call: &mut Call,
    part: Part,
    current: &Arc<Value>,
    proposed: Value,
    tracking: &Tracking<'_>,
) -> ApiResult<Arc<Value>> {
    let name = call.name()?.to_owned();
    check_preconditions(call, &name, current, &proposed)?;
    let mut next = select_part(call, part, current, proposed);
    keep_server_metadata(current, &mut next);
    objects::admit_update(call, part, current, &mut next)?;
    if let Tracking::Update(operation) = tracking {
        managed::track(Some(current), &mut next, operation);
    }
    let subresource = match tracking {
        Tracking::Update(operation) => operation.subresource.as_str(),
        Tracking::Done => part.subresource(),
    };
    // Of a scale, policies see the scale; that was asked before.
    if subresource != "scale" {
        call.admit(state, "UPDATE", subresource, (Some(current), Some(&next)))?;
    }
    if next == **current {
        return Ok(Arc::clone(current));
    }
    if objects::has_generation(&call.resource) && desired_state_changed(call, current, &next) {
        next["metadata"]["generation"] = (current["metadata"]["generation"].as_i64().unwrap_or(0) + 1).into();
    }
    if call.dry_run {
        return Ok(Arc::new(next));
    }
    let address = call.address(&name);
    let stored = if is_finished(&next) {
        // The last finalizer is gone: what remains is the object's last state, then nothing.
        state.remove(&address);
        Arc::new(next)
    } else {
        state.put(&address, next)
    };
    state.settle(call.now);
    Ok(stored)
}

fn check_preconditions(call: &Call, name: &str, current: &Value, proposed: &Value) -> ApiResult<()> {
    let given =
        |member: &str| proposed["metadata"][member].as_str().filter(|text| !text.is_empty() && *text != "0");
    if let Some(uid) = given("uid")
        && current["metadata"]["uid"] != uid
    {
        let found = current["metadata"]["uid"].as_str().unwrap_or_default();
        let why = format!(
            "StorageError: invalid object, Code: 4, Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
        );
        return Err(call.conflict(name, &why));
    }
    match given("resourceVersion") {
        Some(version) if current["metadata"]["resourceVersion"] != version => Err(call.modified(name)),
        _ => Ok(()),
    }
}

/// The current object with only `part` taken from the proposal.
fn select_part(call: &Call, part: Part, current: &Value, mut proposed: Value) -> Value {
    let take = |target: &mut Value, from: &Value, member: &str| {
        if let Some(members) = target.as_object_mut() {
            match from.get(member) {
                Some(value) => members.insert(member.to_owned(), value.clone()),
                None => members.remove(member),
            };
        }
    };
    match part {
        Part::Main => {
            if call.resource.has_status {
                take(&mut proposed, current, "status");
            }
            proposed
        }
        Part::Status => {
            let mut next = current.clone();
            take(&mut next, &proposed, "status");
            take(&mut next["metadata"], &proposed["metadata"], "managedFields");
            next
        }
        Part::Finalize => {
            let mut next = current.clone();
            take(&mut next["spec"], &proposed["spec"], "finalizers");
            next
        }
        Part::Resize | Part::EphemeralContainers => {
            let mut next = current.clone();
            take(&mut next, &proposed, "spec");
            next
        }
    }
}

fn keep_server_metadata(current: &Value, next: &mut Value) {
    if !next["metadata"].is_object() {
        next["metadata"] = json!({});
    }
    let (old, new) = (&current["metadata"], &mut next["metadata"]);
    let Some(members) = new.as_object_mut() else { return };
    for name in SERVERS_OWN.into_iter().chain(["resourceVersion", "name", "namespace"]) {
        match old.get(name) {
            Some(value) => members.insert(name.to_owned(), value.clone()),
            None => members.remove(name),
        };
    }
    for name in ["apiVersion", "kind"] {
        next[name] = current[name].clone();
    }
}

/// Whether more than metadata and status changed.
fn desired_state_changed(call: &Call, current: &Value, next: &Value) -> bool {
    let ignored = |name: &str| name == "metadata" || (name == "status" && call.resource.has_status);
    let count = |object: &Value| {
        object
            .as_object()
            .into_iter()
            .flat_map(|members| members.keys())
            .filter(|name| !ignored(name))
            .count()
    };
    let same = current
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !ignored(name))
        .all(|(name, value)| next.get(name) == Some(value));
    !same || count(current) != count(next)
}
