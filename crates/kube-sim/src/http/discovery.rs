//! Discovery: which groups, versions and resources are served.

use serde_json::{Value, json};

use crate::kinds::{Registry, ResourceType};

const COLLECTION_VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// `/api`.
pub(crate) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`.
pub(crate) fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> = registry
        .groups()
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, versions)| group_entry(name, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub(crate) fn group(registry: &Registry, name: &str) -> Option<Value> {
    let groups = registry.groups();
    let mut entry = group_entry(name, groups.get(name).filter(|_| !name.is_empty())?);
    entry["kind"] = "APIGroup".into();
    entry["apiVersion"] = "v1".into();
    Some(entry)
}

fn group_entry(name: &str, versions: &[String]) -> Value {
    let version = |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({
        "name": name, "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub(crate) fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let served: Vec<_> =
        registry.all().filter(|resource| resource.group == group && resource.version == version).collect();
    let group_version = served.first()?.api_version();
    let resources: Vec<Value> = served.iter().flat_map(|resource| entries(resource)).collect();
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    }))
}

fn entries(resource: &ResourceType) -> Vec<Value> {
    let mut entry = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": COLLECTION_VERBS,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = resource.short_names.clone().into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.clone().into();
    }
    let mut entries = vec![entry];
    for subresource in subresources(resource) {
        let mut entry = json!({
            "name": format!("{}/{}", resource.plural, subresource.name), "singularName": "",
            "namespaced": resource.namespaced, "kind": subresource.kind, "verbs": subresource.verbs,
        });
        if let Some((group, version)) = subresource.other {
            entry["group"] = group.into();
            entry["version"] = version.into();
        }
        entries.push(entry);
    }
    entries
}

struct Subresource {
    name: &'static str,
    kind: String,
    /// Group and version when they are not the resource's own.
    other: Option<(&'static str, &'static str)>,
    verbs: &'static [&'static str],
}

const READ_WRITE: &[&str] = &["get", "patch", "update"];

fn subresources(resource: &ResourceType) -> Vec<Subresource> {
    let mut found = Vec::new();
    let mut add = |name, kind: &str, other, verbs| {
        found.push(Subresource { name, kind: kind.to_owned(), other, verbs });
    };
    if resource.has_status {
        add("status", &resource.kind, None, READ_WRITE);
    }
    if resource.scale.is_some() {
        add("scale", "Scale", Some(("autoscaling", "v1")), READ_WRITE);
    }
    if resource.is("", "pods") {
        add("binding", "Binding", None, &["create"]);
        add("eviction", "Eviction", Some(("policy", "v1")), &["create"]);
        add("log", "Pod", None, &["get"]);
        add("resize", "Pod", None, READ_WRITE);
        add("ephemeralcontainers", "Pod", None, READ_WRITE);
    }
    if resource.is("", "serviceaccounts") {
        add("token", "TokenRequest", Some(("authentication.k8s.io", "v1")), &["create"]);
    }
    if resource.is("", "namespaces") {
        add("finalize", "Namespace", None, &["update"]);
    }
    found
}

/// `/apis` or `/api` in the aggregated form: everything in one answer.
pub(crate) fn aggregated(registry: &Registry, core: bool) -> Value {
    let items: Vec<Value> = registry
        .groups()
        .iter()
        .filter(|(name, _)| name.is_empty() == core)
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    json!({"version": version, "freshness": "Current",
                        "resources": aggregated_resources(registry, name, version)})
                })
                .collect();
            json!({"metadata": {"name": name, "creationTimestamp": null}, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_resources(registry: &Registry, group: &str, version: &str) -> Vec<Value> {
    registry
        .all()
        .filter(|resource| resource.group == group && resource.version == version)
        .map(|resource| {
            let subresources: Vec<Value> = subresources(resource)
                .into_iter()
                .map(|subresource| {
                    let (group, version) = subresource.other.unwrap_or((&resource.group, &resource.version));
                    json!({"subresource": subresource.name, "verbs": subresource.verbs,
                        "responseKind": {"group": group, "version": version, "kind": subresource.kind}})
                })
                .collect();
            let mut entry = json!({
                "resource": resource.plural, "singularResource": resource.singular, "verbs": COLLECTION_VERBS,
                "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
                "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
            });
            for (name, values) in
                [("shortNames", &resource.short_names), ("categories", &resource.categories)]
            {
                if !values.is_empty() {
                    entry[name] = values.clone().into();
                }
            }
            if !subresources.is_empty() {
                entry["subresources"] = subresources.into();
            }
            entry
        })
        .collect()
}

/// `/version`: the level of the API that is followed.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": "v1.33.0+mountlab", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}
