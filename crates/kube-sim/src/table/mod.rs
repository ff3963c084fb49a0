//! Objects as rows of a table, as `kubectl get` prints them.

mod age;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::ResourceType;

/// The table of some objects.
pub(crate) fn table(
    _resource: &ResourceType,
    objects: &[Value],
    metadata: &Value,
    include: &str,
    now: Timestamp,
    with_columns: bool,
) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells = [object["metadata"]["name"].clone(), age::since(&object["metadata"]["creationTimestamp"], now).into()];
            let mut row = json!({"cells": cells});
            match include {
                "Object" => row["object"] = object.clone(),
                "None" => {}
                _ => row["object"] = json!({
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
                }),
            }
            row
        })
        .collect();
    let columns = [
        json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}),
        json!({"name": "Age", "type": "string", "format": "", "description": "", "priority": 0}),
    ];
    let columns = if with_columns { columns.to_vec() } else { Vec::new() };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows})
}
