//! Schema pieces that a derive can't know, and the last polish of a generated definition.
//!
//! A field's API-server default is written as the extension `x-default`: serde's own defaults (empty text, `false`)
//! are how Rust reads an absent field and are not defaults of the API, so they are dropped.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// An object without any schema: every field is kept as it came.
pub(super) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A list without any schema for its items.
pub(super) fn any_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}})
}

/// A label selector, as apimachinery defines it.
pub(super) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
            "matchExpressions": {
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"type": "string"},
                        "operator": {"type": "string"},
                        "values": {
                            "type": "array",
                            "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string"},
                        },
                    },
                },
            },
        },
    })
}

/// Whole number or percentage.
pub(super) fn int_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true})
}

/// A definition as it should be installed: defaults as declared, no `nullable` for absent fields, and
/// `spec` not required where the contract says so.
pub(super) fn polish(definition: CustomResourceDefinition, spec_required: bool) -> CustomResourceDefinition {
    let mut definition = definition;
    for version in &mut definition.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        if !spec_required && let Some(required) = root.required.as_mut() {
            required.retain(|name| name != "spec");
        }
    }
    let Ok(mut json) = serde_json::to_value(&definition) else { return definition };
    tidy(&mut json);
    serde_json::from_value(json).unwrap_or(definition)
}

fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(fields) => {
            fields.values_mut().for_each(tidy);
            if fields.contains_key("type") || fields.contains_key("x-kubernetes-int-or-string") {
                tidy_schema(fields);
            }
        }
        _ => {}
    }
}

fn tidy_schema(schema: &mut serde_json::Map<String, Value>) {
    schema.remove("nullable");
    schema.remove("default");
    if let Some(default) = schema.remove("x-default") {
        schema.insert("default".to_owned(), default);
    }
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    if schema.get("required").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        schema.remove("required");
    }
}
