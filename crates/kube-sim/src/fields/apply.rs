//! Server-side apply: a manager says what it wants, and owns exactly that.

use serde_json::{Value, json};

use super::compare::{difference, merge, remove};
use super::managed::{Manager, Operation, managers, own, set_managers};
use super::set::Fields;
use super::shape::Shape;
use crate::error::{ApiError, ApiResult};

/// The manager that `kubectl apply --server-side` writes as.
const KUBECTL: &str = "kubectl";
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Records the ownership of a configuration that creates its object.
pub(crate) fn first(object: &mut Value, operation: &Operation) {
    let mut fields = Fields::of(object, &Shape::of(&operation.resource));
    fields.drop_unowned();
    let mut managers = Vec::new();
    own(&mut managers, operation, |owned| *owned = fields);
    set_managers(object, &managers);
}

/// The object after `applied` was applied to `live`: its fields set, those that the manager wanted before and wants
/// no more removed. Fields that somebody else owns with another value are conflicts, unless `force` takes them over.
pub(crate) fn apply(
    live: &Value,
    mut applied: Value,
    operation: &Operation,
    force: bool,
) -> ApiResult<Value> {
    let shape = Shape::of(&operation.resource);
    prepare(&mut applied);
    let mut wanted = Fields::of(&applied, &shape);
    wanted.drop_unowned();
    let mut managers = managers(live);
    let merged = merge(live, &applied, &shape);
    let mut changed = difference(live, &merged, &shape).changed;
    changed.drop_unowned();
    let mut refused = changed.clone();
    if force {
        refused = Fields::default();
    } else if operation.manager == KUBECTL {
        refused.subtract(&handed_over(live, &shape));
    }
    let conflicts = conflicts(&managers, operation, &refused);
    if !conflicts.is_empty() {
        return Err(refusal(&conflicts));
    }
    if !changed.is_empty() {
        for manager in managers.iter_mut().filter(|manager| !manager.is(operation)) {
            manager.fields.subtract(&changed);
        }
    }
    let mut merged = merged;
    drop_no_longer_wanted(&mut merged, &managers, operation, &wanted, &shape);
    own(&mut managers, operation, |owned| *owned = wanted);
    set_managers(&mut merged, &managers);
    Ok(merged)
}

/// The fields that a client-side `kubectl apply` wrote and nobody changed since: its server-side successor may have
/// them without a conflict.
fn handed_over(live: &Value, shape: &Shape<'_>) -> Fields {
    let last_applied = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    let Some(configuration) = last_applied.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return Fields::default();
    };
    let mut fields = Fields::of(&configuration, shape);
    fields.subtract(&difference(live, &merge(live, &configuration, shape), shape).changed);
    fields
}

/// A configuration says nothing by `null`, and its managed fields are not its own to say.
fn prepare(applied: &mut Value) {
    drop_nulls(applied);
    if let Some(metadata) = applied["metadata"].as_object_mut() {
        for name in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"] {
            metadata.remove(name);
        }
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn drop_no_longer_wanted(
    merged: &mut Value,
    managers: &[Manager],
    operation: &Operation,
    wanted: &Fields,
    shape: &Shape<'_>,
) {
    let Some(mut gone) =
        managers.iter().find(|manager| manager.is(operation)).map(|manager| manager.fields.clone())
    else {
        return;
    };
    gone.subtract(wanted);
    let mut kept = wanted.clone();
    for manager in managers.iter().filter(|manager| !manager.is(operation)) {
        kept.union(&manager.fields);
        gone.subtract(&manager.fields);
    }
    remove(merged, &gone, &kept, shape);
}

fn conflicts<'m>(
    managers: &'m [Manager],
    operation: &Operation,
    changed: &Fields,
) -> Vec<(&'m Manager, Vec<String>)> {
    managers
        .iter()
        .filter(|manager| !manager.is(operation))
        .map(|manager| (manager, manager.fields.intersection(changed).paths()))
        .filter(|(_, paths)| !paths.is_empty())
        .collect()
}

fn refusal(conflicts: &[(&Manager, Vec<String>)]) -> ApiError {
    let with = |manager: &Manager| {
        let subresource = if manager.subresource.is_empty() {
            String::new()
        } else {
            format!(" with subresource {:?}", manager.subresource)
        };
        format!("conflict with {:?}{subresource} using {}", manager.name, manager.api_version)
    };
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let texts: Vec<String> = conflicts
        .iter()
        .map(|(manager, paths)| match paths.as_slice() {
            [path] => format!("{}: {path}", with(manager)),
            paths => {
                format!("{}:\n- {}", with(manager).replacen("conflict", "conflicts", 1), paths.join("\n- "))
            }
        })
        .collect();
    let plural = if count == 1 { "conflict" } else { "conflicts" };
    let mut error =
        ApiError::new(409, "Conflict", format!("Apply failed with {count} {plural}: {}", texts.join("\n")));
    let causes: Vec<Value> = conflicts
        .iter()
        .flat_map(|(manager, paths)| {
            let message = with(manager);
            paths
                .iter()
                .map(move |path| json!({"reason": "FieldManagerConflict", "message": message, "field": path}))
        })
        .collect();
    error.details = Some(json!({"causes": causes}));
    error
}
