//! Schema pieces that a derive can't know, and the last polish of a generated definition.
//!
//! A field's default in the API is its serde default, unless that is left out when written (`skip_serializing_if`):
//! then it is only how Rust reads an absent field.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::sandbox_set::DEFAULT_UPDATE_BUDGET;

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
                        "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
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

/// Whole number or percentage, neither of them negative.
pub(super) fn int_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int ? self >= 0 : self.matches('^[0-9]+%$')",
            "message": "must be a whole number that is not negative, or a percentage such as 20%",
        }],
    })
}

/// The same, [`crate::crd::sandbox_set::DEFAULT_UPDATE_BUDGET`] when it is not given.
pub(super) fn update_budget(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = int_or_percent(generator);
    schema.insert("default".to_owned(), DEFAULT_UPDATE_BUDGET.into());
    schema
}

/// A definition as it should be installed: no `nullable` for fields that may be absent, no default that is null, no
/// page-long description of what a quantity is, and `spec` not required where the contract says so.
pub(super) fn polish(
    mut definition: CustomResourceDefinition,
    spec_required: bool,
) -> CustomResourceDefinition {
    for root in roots(&mut definition) {
        if !spec_required && let Some(required) = root.required.as_mut() {
            required.retain(|name| name != "spec");
        }
        tidy(root);
    }
    definition
}

/// The same with a default for the whole status.
pub(super) fn with_status_default(
    mut definition: CustomResourceDefinition,
    status: &Value,
) -> CustomResourceDefinition {
    for root in roots(&mut definition) {
        if let Some(property) = root.properties.as_mut().and_then(|properties| properties.get_mut("status")) {
            property.default = Some(JSON(status.clone()));
        }
    }
    definition
}

fn roots(definition: &mut CustomResourceDefinition) -> impl Iterator<Item = &mut JSONSchemaProps> {
    definition
        .spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()))
}

fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.title = None;
    if schema.default.as_ref().is_some_and(|default| default.0.is_null()) {
        schema.default = None;
    }
    if schema.x_kubernetes_int_or_string == Some(true) {
        schema.description = None;
    }
    if let Some(values) = schema.enum_.as_mut() {
        values.retain(|value| !value.0.is_null());
    }
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(tidy);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        tidy(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(additional)) = schema.additional_properties.as_mut() {
        tidy(additional);
    }
}
