//! Schemas: what an object of a kind may hold.
//!
//! Custom kinds bring theirs in the definition; those of built-in kinds come from `k8s-openapi`. An object is pruned
//! (unknown fields go), completed (defaults come) and then validated; rules in CEL come last.

mod builtin;
mod complete;
mod formats;
mod prune;
mod rules;
mod validate;

use serde_json::{Map, Value};

pub(crate) use builtin::{components, metadata_component, metadata_schema, of_builtin};
pub(crate) use complete::{complete, drop_nulls};
pub(crate) use prune::prune;
pub(crate) use rules::check_rules;
pub(crate) use validate::{check_types, validate};

/// A schema and the definitions that its references lead to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema<'a> {
    node: &'a Value,
    definitions: Option<&'a Map<String, Value>>,
}

impl<'a> Schema<'a> {
    pub(crate) fn custom(node: &'a Value) -> Self {
        Self { node, definitions: None }
    }

    fn at(self, node: &'a Value) -> Self {
        let node = match (node.get("$ref").and_then(Value::as_str), self.definitions) {
            (Some(reference), Some(definitions)) => {
                let name = reference.rsplit('/').next().unwrap_or_default();
                definitions.get(name).unwrap_or(node)
            }
            _ => node,
        };
        Self { node, definitions: self.definitions }
    }

    fn get(self, name: &str) -> Option<&'a Value> {
        self.node.get(name)
    }

    fn is(self, name: &str) -> bool {
        self.get(name) == Some(&Value::Bool(true))
    }

    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }

    fn list(self, name: &str) -> &'a [Value] {
        self.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn properties(self) -> Option<&'a Map<String, Value>> {
        self.get("properties")?.as_object()
    }

    /// The schema of a named member.
    fn property(self, name: &str) -> Option<Self> {
        Some(self.at(self.properties()?.get(name)?))
    }

    /// The schema of the members of a map.
    fn additional(self) -> Option<Self> {
        let node = self.get("additionalProperties")?;
        node.is_object().then(|| self.at(node))
    }

    /// The schema of a member, named or not.
    pub(crate) fn member(self, name: &str) -> Option<Self> {
        self.property(name).or_else(|| self.additional())
    }

    /// The schema of a list's items.
    pub(crate) fn items(self) -> Option<Self> {
        Some(self.at(self.get("items")?))
    }

    fn keeps_unknown(self) -> bool {
        self.is("x-kubernetes-preserve-unknown-fields")
    }

    fn is_int_or_string(self) -> bool {
        self.is("x-kubernetes-int-or-string")
    }

    fn is_embedded_resource(self) -> bool {
        self.is("x-kubernetes-embedded-resource")
    }
}

/// `path.name`, or only the name at the root.
fn member_path(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
