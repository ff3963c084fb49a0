//! Objects as rows of a table, as `kubectl get` prints them.

pub(crate) mod age;
mod builtin;
mod json_path;
mod pods;
mod workloads;

use std::borrow::Borrow;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::{Column, CustomVersion, ResourceType};

/// What a column is called, and whether it is shown only with `-o wide`.
pub(super) type Head = (&'static str, bool);

/// The columns of a built-in kind and the cells of one of its objects.
pub(super) struct Printer {
    pub(super) heads: &'static [Head],
    pub(super) cells: fn(&Value, Timestamp) -> Vec<Value>,
}

/// The table of some objects. `include` says what a row carries besides its cells.
pub(crate) fn table(
    resource: &ResourceType,
    objects: &[impl Borrow<Value>],
    metadata: &Value,
    include: &str,
    now: Timestamp,
    with_columns: bool,
) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let object = object.borrow();
            let mut row = json!({"cells": cells(resource, object, now)});
            match include {
                "Object" => row["object"] = object.clone(),
                "None" => {}
                _ => {
                    row["object"] = json!({
                        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                        "metadata": object["metadata"],
                    });
                }
            }
            row
        })
        .collect();
    let columns = if with_columns { columns(resource) } else { Vec::new() };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows})
}

fn columns(resource: &ResourceType) -> Vec<Value> {
    let definition = |name: &str, kind: &str, format: &str, description: &str, priority: i64| json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority});
    let Some(custom) = resource.custom() else {
        let heads = builtin::printer(resource).heads.iter();
        return heads
            .map(|(name, wide)| {
                let format = if *name == "Name" { "name" } else { "" };
                definition(name, "string", format, "", i64::from(*wide))
            })
            .collect();
    };
    let mut columns = vec![definition("Name", "string", "name", "Name of the object", 0)];
    columns.extend(columns_of(custom).iter().map(|column| {
        definition(&column.name, &column.kind, &column.format, &column.description, column.priority)
    }));
    columns
}

fn cells(resource: &ResourceType, object: &Value, now: Timestamp) -> Vec<Value> {
    let Some(custom) = resource.custom() else { return (builtin::printer(resource).cells)(object, now) };
    let mut cells = vec![object["metadata"]["name"].clone()];
    cells.extend(columns_of(custom).iter().map(|column| cell(column, object, now)));
    cells
}

/// A definition without columns shows ages.
fn columns_of(custom: &CustomVersion) -> Vec<Column> {
    if !custom.columns.is_empty() {
        return custom.columns.clone();
    }
    vec![Column {
        name: "Age".into(),
        kind: "date".into(),
        format: String::new(),
        description: String::new(),
        priority: 0,
        json_path: ".metadata.creationTimestamp".into(),
    }]
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let Some(value) = json_path::first(&column.json_path, object) else { return Value::Null };
    match column.kind.as_str() {
        "date" => age::since(value, now).into(),
        "integer" if !value.is_i64() => Value::Null,
        "number" if !value.is_number() => Value::Null,
        "boolean" if !value.is_boolean() => Value::Null,
        "string" if !value.is_string() => value.to_string().into(),
        _ => value.clone(),
    }
}
