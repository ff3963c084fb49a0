//! Defaults, and nulls that mean nothing.

use serde_json::Value;

use super::Schema;

/// Drops members that are null although they may not be: they count as absent.
pub(crate) fn drop_nulls(value: &mut Value, schema: Schema<'_>) {
    match value {
        Value::Object(members) => {
            members.retain(|name, value| {
                let Some(schema) = schema.member(name) else { return true };
                !value.is_null() || schema.is("nullable") || schema.keeps_unknown()
            });
            for (name, value) in members {
                if let Some(schema) = schema.member(name) {
                    drop_nulls(value, schema);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.items() {
                for item in items {
                    drop_nulls(item, schema);
                }
            }
        }
        _ => {}
    }
}

/// Fills in the defaults of a schema.
pub(crate) fn complete(value: &mut Value, schema: Schema<'_>) {
    match value {
        Value::Object(members) => {
            for (name, node) in schema.properties().into_iter().flatten() {
                if let Some(default) = node.get("default")
                    && !members.contains_key(name)
                {
                    members.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in members {
                if let Some(schema) = schema.member(name) {
                    complete(value, schema);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.items() {
                for item in items {
                    complete(item, schema);
                }
            }
        }
        _ => {}
    }
}
