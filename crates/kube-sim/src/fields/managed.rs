//! The `managedFields` of an object.

use std::sync::Arc;

use serde_json::{Value, json};

use super::compare::difference;
use super::set::Fields;
use super::shape::Shape;
use crate::api::Call;
use crate::kinds::ResourceType;
use crate::state::seconds;

/// A write, as managed fields record it.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) manager: String,
    /// `Apply` or `Update`.
    kind: &'static str,
    pub(crate) subresource: String,
    api_version: String,
    time: String,
    pub(crate) resource: Arc<ResourceType>,
}

impl Operation {
    pub(crate) fn update(call: &Call, subresource: &str) -> Self {
        Self::new(call, "Update", subresource)
    }

    pub(crate) fn apply(call: &Call, subresource: &str) -> Self {
        Self::new(call, "Apply", subresource)
    }

    fn new(call: &Call, kind: &'static str, subresource: &str) -> Self {
        Self {
            manager: call.manager.clone(),
            kind,
            subresource: subresource.to_owned(),
            api_version: call.resource.api_version(),
            time: seconds(call.now),
            resource: Arc::clone(&call.resource),
        }
    }
}

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) operation: String,
    pub(crate) subresource: String,
    pub(crate) api_version: String,
    time: String,
    pub(crate) fields: Fields,
}

impl Manager {
    /// Whether this entry is the one that `operation` continues.
    pub(crate) fn is(&self, operation: &Operation) -> bool {
        self.name == operation.manager
            && self.operation == operation.kind
            && self.subresource == operation.subresource
            && self.api_version == operation.api_version
    }

    fn read(entry: &Value) -> Self {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        Self {
            name: text("manager"),
            operation: text("operation"),
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            time: text("time"),
            fields: Fields::from_json(&entry["fieldsV1"]),
        }
    }

    fn write(&self) -> Value {
        let mut entry = json!({
            "manager": self.name, "operation": self.operation, "apiVersion": self.api_version, "time": self.time,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_json(),
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.clone().into();
        }
        entry
    }
}

/// The managers that an object names.
pub(crate) fn managers(object: &Value) -> Vec<Manager> {
    let entries = object["metadata"]["managedFields"].as_array();
    entries.into_iter().flatten().filter(|entry| entry["manager"].is_string()).map(Manager::read).collect()
}

/// Writes the managers into an object; those that own nothing are left out.
pub(crate) fn set_managers(object: &mut Value, managers: &[Manager]) {
    let entries: Vec<Value> =
        managers.iter().filter(|manager| !manager.fields.is_empty()).map(Manager::write).collect();
    if !entries.is_empty() {
        object["metadata"]["managedFields"] = entries.into();
    } else if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}

/// Gives the fields that a write changed to its manager and takes them from all others.
pub(crate) fn track(old: Option<&Value>, new: &mut Value, operation: &Operation) {
    // A write that brings managed fields along edits them; one without keeps those that are there.
    let given = new["metadata"]["managedFields"].as_array().is_some_and(|entries| !entries.is_empty());
    let mut managers = if given { managers(new) } else { old.map(managers).unwrap_or_default() };
    let shape = Shape::of(&operation.resource);
    let mut found = difference(old.unwrap_or(&json!({})), new, &shape);
    found.changed.drop_unowned();
    found.removed.drop_unowned();
    for manager in &mut managers {
        manager.fields.subtract_whole(&found.removed);
        if !manager.is(operation) {
            manager.fields.subtract(&found.changed);
        }
    }
    own(&mut managers, operation, |fields| fields.union(&found.changed));
    set_managers(new, &managers);
}

/// Changes what the operation's manager owns; its time moves only when that made a difference.
pub(crate) fn own(managers: &mut Vec<Manager>, operation: &Operation, change: impl FnOnce(&mut Fields)) {
    let place = managers.iter().position(|manager| manager.is(operation));
    let mut entry = place.and_then(|place| managers.get(place).cloned()).unwrap_or_else(|| Manager {
        name: operation.manager.clone(),
        operation: operation.kind.to_owned(),
        subresource: operation.subresource.clone(),
        api_version: operation.api_version.clone(),
        time: operation.time.clone(),
        fields: Fields::default(),
    });
    let before = entry.fields.clone();
    change(&mut entry.fields);
    if entry.fields != before {
        entry.time.clone_from(&operation.time);
    }
    match place.and_then(|place| managers.get_mut(place)) {
        Some(slot) => *slot = entry,
        None => managers.push(entry),
    }
}
