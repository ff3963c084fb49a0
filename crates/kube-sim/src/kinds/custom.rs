//! Kinds that a `CustomResourceDefinition` adds.

use std::sync::Arc;

use serde_json::Value;

use super::{Origin, ResourceType, ScalePaths};
use crate::expressions::Expressions;

/// A printer column of a definition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) description: String,
    /// 0 is always shown, higher numbers only with `-o wide`.
    pub(crate) priority: i64,
    pub(crate) json_path: String,
}

/// What is particular to one version of a definition.
#[derive(Debug)]
pub(crate) struct CustomVersion {
    /// `spec.versions[].schema.openAPIV3Schema`.
    pub(crate) schema: Value,
    pub(crate) rules: Expressions,
    pub(crate) columns: Vec<Column>,
    /// Paths that field selectors may ask for, such as `.spec.color`.
    pub(crate) selectable: Vec<String>,
    /// Whether the definition serves more than this version.
    pub(crate) several: bool,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The path `.spec.replicas` as its member names.
fn members(path: &Value) -> Option<Vec<String>> {
    let path = path.as_str()?;
    Some(path.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect())
}

/// The resources that a definition serves.
pub(crate) fn served_versions(definition: &Value) -> Vec<ResourceType> {
    let spec = &definition["spec"];
    let versions = list(&spec["versions"]);
    versions
        .iter()
        .filter(|version| version["served"].as_bool().unwrap_or(false))
        .map(|version| resource(spec, version, versions.len() > 1))
        .collect()
}

fn resource(spec: &Value, version: &Value, several: bool) -> ResourceType {
    let names = &spec["names"];
    let group = text(&spec["group"]);
    let plural = text(&names["plural"]);
    let kind = text(&names["kind"]);
    let list_kind = names["listKind"].as_str().map_or_else(|| format!("{kind}List"), str::to_owned);
    let singular = names["singular"].as_str().map_or_else(|| kind.to_lowercase(), str::to_owned);
    let subresources = &version["subresources"];
    ResourceType {
        collection: format!("{group}/{plural}").into(),
        version: text(&version["name"]),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        has_status: !subresources["status"].is_null(),
        scale: scale(&subresources["scale"]),
        origin: Origin::Custom(Arc::new(CustomVersion {
            schema: version["schema"]["openAPIV3Schema"].clone(),
            rules: Expressions::default(),
            columns: list(&version["additionalPrinterColumns"]).iter().map(column).collect(),
            selectable: list(&version["selectableFields"])
                .iter()
                .map(|field| text(&field["jsonPath"]))
                .collect(),
            several,
        })),
        group,
        kind,
        list_kind,
        plural,
        singular,
    }
}

fn scale(scale: &Value) -> Option<ScalePaths> {
    Some(ScalePaths {
        spec: members(&scale["specReplicasPath"])?,
        status: members(&scale["statusReplicasPath"])?,
        selector: members(&scale["labelSelectorPath"]),
    })
}

fn column(column: &Value) -> Column {
    Column {
        name: text(&column["name"]),
        kind: text(&column["type"]),
        format: text(&column["format"]),
        description: text(&column["description"]),
        priority: column["priority"].as_i64().unwrap_or(0),
        json_path: text(&column["jsonPath"]),
    }
}
