//! Taking out fields that a schema doesn't know.

use serde_json::{Map, Value};

use super::{Schema, member_path, metadata_schema};

/// Members that every object has, whatever its schema says.
const OBJECT_MEMBERS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Takes unknown fields out of an object and names them in `unknown`.
pub(crate) fn prune(object: &mut Value, schema: Schema<'_>, custom: bool, unknown: &mut Vec<String>) {
    Pruning { custom, unknown }.value(object, schema, "", true);
}

struct Pruning<'u> {
    /// A custom kind prunes an object without properties to nothing; a built-in one leaves it.
    custom: bool,
    unknown: &'u mut Vec<String>,
}

impl Pruning<'_> {
    fn value(&mut self, value: &mut Value, schema: Schema<'_>, path: &str, resource: bool) {
        match value {
            Value::Object(members) => self.members(members, schema, path, resource),
            Value::Array(items) => {
                let Some(schema) = schema.items() else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(item, schema, &format!("{path}[{index}]"), false);
                }
            }
            _ => {}
        }
    }

    fn members(&mut self, members: &mut Map<String, Value>, schema: Schema<'_>, path: &str, resource: bool) {
        let resource = resource || schema.is_embedded_resource();
        let untyped = schema.properties().is_none() && schema.additional().is_none();
        let keeps = schema.keeps_unknown()
            || (untyped
                && (!self.custom || schema.is("additionalProperties") || schema.get("type").is_none()));
        members.retain(|name, value| {
            let path = member_path(path, name);
            if resource && self.custom && OBJECT_MEMBERS.contains(&name.as_str()) {
                if name == "metadata" {
                    // Metadata is typed even where the schema says nothing about it.
                    Pruning { custom: false, unknown: &mut *self.unknown }.value(
                        value,
                        metadata_schema(),
                        &path,
                        false,
                    );
                }
                return true;
            }
            if let Some(schema) = schema.member(name) {
                self.value(value, schema, &path, false);
                return true;
            }
            if !keeps {
                self.unknown.push(path);
            }
            keeps
        });
    }
}
