//! OpenAPI v3, as far as `kubectl explain`, `apply` and `create` need it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::kinds::{Origin, Registry, ResourceType};
use crate::schema::{components, metadata_component};

/// `/openapi/v3`: where the document of each group and version is.
pub(crate) fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, versions) in registry.groups() {
        for version in versions {
            let path =
                if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            let hash = content_hash(registry, &group, &version);
            let url = format!("/openapi/v3/{path}?hash={hash:016X}");
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// Changes with what the document of a group and version says, so that clients may keep it for ever.
fn content_hash(registry: &Registry, group: &str, version: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    for resource in registry.all().filter(|resource| resource.group == group && resource.version == version) {
        resource.kind.hash(&mut hasher);
        if let Some(custom) = resource.custom() {
            custom.schema.to_string().hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The document of one group and version.
pub(crate) fn document(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let served: Vec<Arc<ResourceType>> = registry
        .all()
        .filter(|resource| resource.group == group && resource.version == version)
        .cloned()
        .collect();
    if served.is_empty() {
        return None;
    }
    let mut paths = Map::new();
    for resource in &served {
        add_paths(&mut paths, resource);
    }
    let mut schemas = builtin_schemas(&served);
    for resource in &served {
        if let Some(custom) = resource.custom() {
            schemas.insert(component_name(resource), custom_schema(resource, &custom.schema));
        }
    }
    schemas.values_mut().for_each(wrap_references);
    Some(json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": paths, "components": {"schemas": schemas},
    }))
}

fn group_version_kind(resource: &ResourceType) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

fn builtin_schemas(served: &[Arc<ResourceType>]) -> Map<String, Value> {
    let builtin: Vec<_> = served
        .iter()
        .filter_map(|resource| match &resource.origin {
            Origin::Builtin(builtin) => Some((*builtin, resource)),
            Origin::Custom(_) => None,
        })
        .collect();
    let kinds: Vec<_> = builtin.iter().map(|(kind, _)| *kind).collect();
    let (mut schemas, names) = components(&kinds);
    for (name, (_, resource)) in names.iter().zip(&builtin) {
        if let Some(schema) = schemas.get_mut(name) {
            schema["x-kubernetes-group-version-kind"] = json!([group_version_kind(resource)]);
        }
    }
    schemas
}

/// The name of a custom kind's component: the group backwards, the version and the kind.
fn component_name(resource: &ResourceType) -> String {
    let group: Vec<&str> = resource.group.split('.').rev().collect();
    format!("{}.{}.{}", group.join("."), resource.version, resource.kind)
}

fn custom_schema(resource: &ResourceType, schema: &Value) -> Value {
    let mut schema = schema.clone();
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    schema["x-kubernetes-group-version-kind"] = json!([group_version_kind(resource)]);
    let properties = &mut schema["properties"];
    if !properties.is_object() {
        *properties = json!({});
    }
    properties["apiVersion"] = json!({"type": "string",
        "description": "The versioned schema of this representation of an object."});
    properties["kind"] = json!({"type": "string",
        "description": "The REST resource that this object represents, in CamelCase."});
    properties["metadata"] = json!({"$ref": format!("#/components/schemas/{}", metadata_component()),
        "description": "Standard object's metadata."});
    schema
}

/// A reference with a description beside it is written as `allOf`, since a reference stands alone in OpenAPI 3.0.
fn wrap_references(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    if members.len() > 1
        && let Some(reference) = members.remove("$ref")
    {
        members.insert("allOf".into(), json!([{"$ref": reference}]));
    }
    for (name, member) in members {
        match (name.as_str(), member) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(wrap_references),
            ("items" | "additionalProperties", member) => wrap_references(member),
            _ => {}
        }
    }
}

fn add_paths(paths: &mut Map<String, Value>, resource: &ResourceType) {
    let prefix = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    let (scope, mut shared) = if resource.namespaced {
        (format!("{prefix}/namespaces/{{namespace}}/{}", resource.plural), vec![path_parameter("namespace")])
    } else {
        (format!("{prefix}/{}", resource.plural), Vec::new())
    };
    let operation = |action: &str, parameters: &[&str]| {
        let parameters: Vec<Value> = parameters.iter().map(|name| query_parameter(name)).collect();
        json!({"x-kubernetes-action": action, "x-kubernetes-group-version-kind": group_version_kind(resource),
            "parameters": parameters, "responses": {"200": {"description": "OK"}}})
    };
    let writing = ["dryRun", "fieldManager", "fieldValidation"];
    paths.insert(
        scope.clone(),
        json!({"get": operation("list", &["labelSelector", "fieldSelector", "limit", "continue", "watch"]),
            "post": operation("post", &writing), "delete": operation("deletecollection", &["dryRun"]),
            "parameters": shared}),
    );
    shared.push(path_parameter("name"));
    paths.insert(
        format!("{scope}/{{name}}"),
        json!({"get": operation("get", &[]), "put": operation("put", &writing),
            "patch": operation("patch", &["dryRun", "fieldManager", "fieldValidation", "force"]),
            "delete": operation("delete", &["dryRun"]), "parameters": shared}),
    );
}

fn query_parameter(name: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
}
