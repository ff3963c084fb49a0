//! Validating values against schemas, in the words of the API server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use regex::Regex;
use serde_json::Value;

use super::{Schema, formats, member_path, type_name};
use crate::error::Cause;
use crate::fields::shape::{custom_list_kind, item_element};
use strategic_merge::ListKind;

/// Everything wrong with an object.
pub(crate) fn validate(object: &Value, schema: Schema<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    check(object, schema, "", &mut causes);
    causes
}

/// Only values of a wrong JSON type, as decoding into Go types finds them.
pub(crate) fn check_types(object: &Value, schema: Schema<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk_types(object, schema, "", &mut causes);
    causes
}

fn walk_types(value: &Value, schema: Schema<'_>, path: &str, causes: &mut Vec<Cause>) {
    if !check_type(value, schema, path, causes) {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(schema) = schema.member(name) {
                    walk_types(value, schema, &member_path(path, name), causes);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(schema) = schema.items() {
                    walk_types(item, schema, &format!("{path}[{index}]"), causes);
                }
            }
        }
        _ => {}
    }
}

fn check(value: &Value, schema: Schema<'_>, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && schema.is("nullable") {
        return;
    }
    if !check_type(value, schema, path, causes) {
        return;
    }
    let allowed = schema.list("enum");
    if !allowed.is_empty() && !allowed.contains(value) {
        causes.push(Cause::unsupported(path, value, allowed));
    }
    match value {
        Value::String(text) => check_text(text, value, schema, path, causes),
        Value::Number(_) => check_number(value, schema, path, causes),
        Value::Array(items) => check_items(items, value, schema, path, causes),
        Value::Object(_) => check_members(value, schema, path, causes),
        Value::Null | Value::Bool(_) => {}
    }
    check_combinations(value, schema, path, causes);
}

/// Whether the value has the type that the schema wants; says so if not.
fn check_type(value: &Value, schema: Schema<'_>, path: &str, causes: &mut Vec<Cause>) -> bool {
    let found = type_name(value);
    if schema.is_int_or_string() {
        let fits = matches!(found, "integer" | "string");
        if !fits {
            causes.push(Cause::wrong_type(path, found, "integer,string"));
        }
        return fits;
    }
    let Some(wanted) = schema.text("type") else { return true };
    let whole = value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let fits =
        found == wanted || (wanted == "number" && found == "integer") || (wanted == "integer" && whole);
    if !fits {
        causes.push(Cause::wrong_type(path, found, wanted));
    }
    fits
}

/// A cause in the words "PATH in body …".
fn in_body(path: &str, value: &Value, detail: &str) -> Cause {
    Cause::invalid(path, value, &format!("{path} in body {detail}"))
}

fn too_long(path: &str, message: String) -> Cause {
    Cause { reason: "FieldValueTooLong", field: path.to_owned(), message }
}

fn too_many(path: &str, found: usize, most: u64) -> Cause {
    let message = format!("Too many: {found}: must have at most {most} items");
    Cause { reason: "FieldValueTooMany", field: path.to_owned(), message }
}

fn number(schema: Schema<'_>, name: &str) -> Option<u64> {
    schema.get(name)?.as_u64()
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

fn check_text(text: &str, value: &Value, schema: Schema<'_>, path: &str, causes: &mut Vec<Cause>) {
    let length = count(text.chars().count());
    if let Some(most) = number(schema, "maxLength").filter(|most| length > *most) {
        causes.push(too_long(path, format!("Too long: may not be more than {most} bytes")));
    }
    if let Some(least) = number(schema, "minLength").filter(|least| length < *least) {
        causes.push(in_body(path, value, &format!("should be at least {least} chars long")));
    }
    if let Some(pattern) = schema.text("pattern") {
        match compiled(pattern) {
            Some(regex) if regex.is_match(text) => {}
            Some(_) => causes.push(in_body(path, value, &format!("should match '{pattern}'"))),
            None => causes.push(in_body(
                path,
                value,
                &format!("can't be checked: '{pattern}' is no valid pattern"),
            )),
        }
    }
    if let Some(format) = schema.text("format")
        && !formats::holds(format, text)
    {
        causes.push(in_body(path, value, &format!("must be of type {format}: {value}")));
    }
}

/// Patterns are few and used again and again.
fn compiled(pattern: &str) -> Option<Arc<Regex>> {
    static CACHE: OnceLock<Mutex<HashMap<String, Option<Arc<Regex>>>>> = OnceLock::new();
    let mut cache = CACHE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    cache.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).ok().map(Arc::new)).clone()
}

fn check_number(value: &Value, schema: Schema<'_>, path: &str, causes: &mut Vec<Cause>) {
    let Some(found) = value.as_f64() else { return };
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    let shown = |name: &str| schema.get(name).map(ToString::to_string).unwrap_or_default();
    if let Some(least) = limit("minimum") {
        if schema.is("exclusiveMinimum") && found <= least {
            causes.push(in_body(path, value, &format!("should be greater than {}", shown("minimum"))));
        } else if found < least {
            causes.push(in_body(
                path,
                value,
                &format!("should be greater than or equal to {}", shown("minimum")),
            ));
        }
    }
    if let Some(most) = limit("maximum") {
        if schema.is("exclusiveMaximum") && found >= most {
            causes.push(in_body(path, value, &format!("should be less than {}", shown("maximum"))));
        } else if found > most {
            causes.push(in_body(
                path,
                value,
                &format!("should be less than or equal to {}", shown("maximum")),
            ));
        }
    }
    if let Some(step) = limit("multipleOf").filter(|step| *step > 0.0)
        && (found / step).fract() != 0.0
    {
        causes.push(in_body(path, value, &format!("should be a multiple of {}", shown("multipleOf"))));
    }
    let fits = match schema.text("format") {
        Some("int32") => value.as_i64().is_some_and(|found| i32::try_from(found).is_ok()),
        Some("int64") => value.as_i64().is_some() || value.is_f64(),
        _ => true,
    };
    if !fits {
        let format = schema.text("format").unwrap_or_default();
        causes.push(in_body(path, value, &format!("must be of type {format}: {value}")));
    }
}

fn check_items(items: &[Value], value: &Value, schema: Schema<'_>, path: &str, causes: &mut Vec<Cause>) {
    if let Some(most) = number(schema, "maxItems").filter(|most| count(items.len()) > *most) {
        causes.push(too_many(path, items.len(), most));
    }
    if let Some(least) = number(schema, "minItems").filter(|least| count(items.len()) < *least) {
        causes.push(in_body(path, value, &format!("should have at least {least} items")));
    }
    if schema.is("uniqueItems")
        && (1..items.len()).any(|at| items.get(..at).is_some_and(|seen| seen.contains(&items[at])))
    {
        causes.push(in_body(path, value, "shouldn't contain duplicates"));
    }
    check_keys(items, schema, path, causes);
    if let Some(schema) = schema.items() {
        for (index, item) in items.iter().enumerate() {
            check(item, schema, &format!("{path}[{index}]"), causes);
        }
    }
}

/// The items of a set or a map differ from each other.
fn check_keys(items: &[Value], schema: Schema<'_>, path: &str, causes: &mut Vec<Cause>) {
    let kind = custom_list_kind(Some(schema.node));
    let mut seen = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(element) = item_element(&kind, item) else { continue };
        if seen.contains(&element) {
            let shown = match &kind {
                ListKind::Map(keys) => keys.iter().map(|key| (key.clone(), item[key].clone())).collect(),
                ListKind::Set | ListKind::Atomic => item.clone(),
            };
            causes.push(Cause::duplicate(format!("{path}[{index}]"), &shown));
        }
        seen.push(element);
    }
}

fn check_members(value: &Value, schema: Schema<'_>, path: &str, causes: &mut Vec<Cause>) {
    let Some(members) = value.as_object() else { return };
    for name in schema.list("required").iter().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            causes.push(Cause::required(member_path(path, name), ""));
        }
    }
    if let Some(most) = number(schema, "maxProperties").filter(|most| count(members.len()) > *most) {
        causes.push(too_many(path, members.len(), most));
    }
    if let Some(least) = number(schema, "minProperties").filter(|least| count(members.len()) < *least) {
        causes.push(in_body(path, value, &format!("should have at least {least} properties")));
    }
    for (name, value) in members {
        if let Some(schema) = schema.member(name) {
            check(value, schema, &member_path(path, name), causes);
        }
    }
}

fn check_combinations(value: &Value, schema: Schema<'_>, path: &str, causes: &mut Vec<Cause>) {
    let holds = |node: &Value| {
        let mut found = Vec::new();
        check(value, schema.at(node), path, &mut found);
        found.is_empty()
    };
    for node in schema.list("allOf") {
        check(value, schema.at(node), path, causes);
    }
    let any = schema.list("anyOf");
    if !any.is_empty() && !any.iter().any(holds) {
        causes.push(in_body(path, value, "must validate at least one schema (anyOf)"));
    }
    let one = schema.list("oneOf");
    if !one.is_empty() && one.iter().filter(|node| holds(node)).count() != 1 {
        causes.push(in_body(path, value, "must validate one and only one schema (oneOf)"));
    }
    if let Some(node) = schema.get("not")
        && holds(node)
    {
        causes.push(in_body(path, value, "must not validate the schema (not)"));
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "required": ["spec"], "properties": {"spec": {
            "type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]*$"},
                "kind": {"type": "string", "enum": ["A", "B"]},
                "size": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9},
                "when": {"type": "string", "format": "date-time"},
                "port": {"x-kubernetes-int-or-string": true},
                "none": {"type": "string", "nullable": true},
                "mounts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["path"],
                    "maxItems": 2, "items": {"type": "object", "required": ["path"],
                        "properties": {"path": {"type": "string"}}}},
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "either": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            },
        }}})
    }

    #[rstest]
    #[case(json!({"name": "ab", "kind": "A", "size": 3, "port": "80%", "none": null}), "")]
    #[case(json!({}), "spec.name: Required value")]
    #[case(json!({"name": 3}), "spec.name: Invalid value: \"integer\": spec.name in body must be of type string: \"integer\"")]
    #[case(json!({"name": "a"}), "spec.name: Invalid value: \"a\": spec.name in body should be at least 2 chars long")]
    #[case(json!({"name": "abcde"}), "spec.name: Too long: may not be more than 4 bytes")]
    #[case(json!({"name": "AB"}), "spec.name: Invalid value: \"AB\": spec.name in body should match '^[a-z]*$'")]
    #[case(json!({"name": "ab", "kind": "C"}), "spec.kind: Unsupported value: \"C\": supported values: \"A\", \"B\"")]
    #[case(json!({"name": "ab", "size": 0}), "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1")]
    #[case(json!({"name": "ab", "size": 10}), "spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9")]
    #[case(json!({"name": "ab", "when": "x"}), "spec.when: Invalid value: \"x\": spec.when in body must be of type date-time: \"x\"")]
    #[case(json!({"name": "ab", "port": true}), "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"")]
    #[case(json!({"name": "ab", "mounts": [{"path": "/a"}, {"path": "/a"}]}), "spec.mounts[1]: Duplicate value: {\"path\":\"/a\"}")]
    #[case(json!({"name": "ab", "mounts": [{}]}), "spec.mounts[0].path: Required value")]
    #[case(json!({"name": "ab", "tags": ["x", "x"]}), "spec.tags[1]: Duplicate value: \"x\"")]
    #[case(json!({"name": "ab", "either": {"a": 1, "b": 2}}), "spec.either: Invalid value: {\"a\":1,\"b\":2}: spec.either in body must validate one and only one schema (oneOf)")]
    fn what_is_wrong_is_said_as_the_api_server_says_it(#[case] spec: Value, #[case] expected: &str) {
        let schema = schema();
        let causes = validate(&json!({"spec": spec}), Schema::custom(&schema));
        let texts: Vec<String> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        assert_eq!(texts.join("; "), expected);
    }
}
