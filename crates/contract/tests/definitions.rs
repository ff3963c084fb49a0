//! The CRDs as the contract's inventory has them (`kubernetes.md` §1.0).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps,
};
use rstest::rstest;

fn definitions() -> BTreeMap<String, CustomResourceDefinition> {
    contract::crd::all().into_iter().map(|found| (found.spec.names.kind.clone(), found)).collect()
}

fn version(kind: &str) -> CustomResourceDefinitionVersion {
    let mut definition = definitions().remove(kind).expect("installed");
    assert_eq!(definition.spec.versions.len(), 1);
    definition.spec.versions.remove(0)
}

fn property(kind: &str, path: &str) -> JSONSchemaProps {
    let root = version(kind).schema.and_then(|schema| schema.open_api_v3_schema).expect("a schema");
    path.split('.').fold(root, |schema, name| {
        schema
            .properties
            .and_then(|mut properties| properties.remove(name))
            .unwrap_or_else(|| panic!("no {name} in {path}"))
    })
}

#[rstest]
#[case("Sandbox", "sandboxes", "sandbox", "sbx", true)]
#[case("SandboxSet", "sandboxsets", "sandboxset", "sbs", true)]
#[case("SandboxClaim", "sandboxclaims", "sandboxclaim", "sbc", true)]
#[case("SandboxTemplate", "sandboxtemplates", "sandboxtemplate", "sbt", false)]
#[case("Checkpoint", "checkpoints", "checkpoint", "cp", true)]
#[case("SandboxUpdateOps", "sandboxupdateops", "sandboxupdateops", "suo", true)]
#[case("Commit", "commits", "commit", "cmt", true)]
#[case("TrafficPolicy", "trafficpolicies", "trafficpolicy", "tp", true)]
fn names_and_subresources(
    #[case] kind: &str,
    #[case] plural: &str,
    #[case] singular: &str,
    #[case] short: &str,
    #[case] status: bool,
) {
    let definition = definitions().remove(kind).expect("installed");
    assert_eq!(definition.metadata.name.as_deref(), Some(format!("{plural}.agents.kruise.io").as_str()));
    assert_eq!(definition.spec.names.singular.as_deref(), Some(singular));
    assert_eq!(definition.spec.names.short_names, Some(vec![short.to_owned()]));
    assert_eq!(definition.spec.scope, "Namespaced");
    let version = version(kind);
    assert!((version.name.as_str(), version.served, version.storage) == ("v1alpha1", true, true));
    assert_eq!(version.subresources.and_then(|subresources| subresources.status).is_some(), status);
}

#[test]
fn all_kinds_are_there_and_spec_is_required_but_for_traffic_policies() {
    let definitions = definitions();
    assert_eq!(definitions.len(), 8);
    for kind in definitions.keys() {
        let root = version(kind).schema.and_then(|schema| schema.open_api_v3_schema).expect("a schema");
        let required = root.required.unwrap_or_default().contains(&"spec".to_owned());
        assert_eq!(required, kind != "TrafficPolicy", "{kind}");
    }
}

/// Name, type and JSON path of a column.
type Column = (&'static str, &'static str, &'static str);

const AGE: Column = ("Age", "date", ".metadata.creationTimestamp");

#[rstest]
#[case("Sandbox", &[
    ("Status", "string", ".status.phase"),
    AGE,
    ("Claimed", "string", r".metadata.labels.agents\.kruise\.io/sandbox-claimed"),
    ("shutdown_time", "string", ".spec.shutdownTime"),
    ("pause_time", "string", ".spec.pauseTime"),
    ("RecycledCount", "integer", ".status.recycledCount"),
    ("Message", "string", ".status.message"),
])]
#[case("SandboxSet", &[
    ("Replicas", "integer", ".spec.replicas"),
    ("Available", "integer", ".status.availableReplicas"),
    ("UpdatedReplicas", "integer", ".status.updatedReplicas"),
    ("UpdatedAvailableReplicas", "integer", ".status.updatedAvailableReplicas"),
    ("UpdateRevision", "string", ".status.updateRevision"),
    AGE,
])]
#[case("SandboxClaim", &[
    ("Phase", "string", ".status.phase"),
    ("Template", "string", ".spec.templateName"),
    ("Desired", "integer", ".spec.replicas"),
    ("Claimed", "integer", ".status.claimedReplicas"),
    AGE,
])]
#[case("SandboxTemplate", &[])]
#[case("Checkpoint", &[("Status", "string", ".status.phase"), AGE])]
#[case("SandboxUpdateOps", &[
    ("Phase", "string", ".status.phase"),
    ("Total", "integer", ".status.replicas"),
    ("Updated", "integer", ".status.updatedReplicas"),
    ("Updating", "integer", ".status.updatingReplicas"),
    ("Failed", "integer", ".status.failedReplicas"),
    AGE,
])]
#[case("Commit", &[("Phase", "string", ".status.phase"), ("TTL", "string", ".spec.ttl"), AGE])]
#[case("TrafficPolicy", &[("Priority", "integer", ".spec.priority"), AGE])]
fn printer_columns(#[case] kind: &str, #[case] expected: &[Column]) {
    let columns = version(kind).additional_printer_columns.unwrap_or_default();
    let found: Vec<_> = columns
        .iter()
        .map(|column| (column.name.as_str(), column.type_.as_str(), column.json_path.as_str()))
        .collect();
    assert_eq!(found, expected);
    // A column with a priority is shown by `-o wide` only; the contract has none such.
    assert!(columns.iter().all(|column| column.priority.unwrap_or_default() == 0), "{columns:?}");
}

/// Every column shows a field that the kind has, of the type that the column says.
#[test]
fn printer_columns_show_fields_that_are_there() {
    for kind in definitions().into_keys() {
        let columns = version(&kind).additional_printer_columns.unwrap_or_default();
        for column in columns.iter().filter(|column| !column.json_path.starts_with(".metadata.")) {
            let field = property(&kind, column.json_path.trim_start_matches('.'));
            assert_eq!(field.type_.as_deref(), Some(column.type_.as_str()), "{kind} {}", column.name);
        }
    }
}

#[test]
fn the_scale_subresource_of_a_set() {
    let scale =
        version("SandboxSet").subresources.and_then(|subresources| subresources.scale).expect("scale");
    assert_eq!(scale.spec_replicas_path, ".spec.replicas");
    assert_eq!(scale.status_replicas_path, ".status.replicas");
    assert_eq!(scale.label_selector_path.as_deref(), Some(".status.selector"));
}

#[rstest]
#[case("SandboxClaim", "spec.replicas", "1")]
#[case("SandboxClaim", "spec.claimTimeout", "\"1m\"")]
#[case("SandboxClaim", "spec.ttlAfterCompleted", "\"60m\"")]
#[case("SandboxClaim", "spec.waitReadyTimeout", "\"30s\"")]
#[case("SandboxClaim", "spec.createOnNoStock", "true")]
#[case("SandboxClaim", "spec.reserveFailedSandbox", "false")]
#[case("SandboxClaim", "spec.skipInitRuntime", "false")]
#[case("Sandbox", "spec.paused", "false")]
#[case("Sandbox", "spec.lifecycle.preUpgrade.timeoutSeconds", "60")]
#[case("SandboxUpdateOps", "spec.paused", "false")]
#[case("Commit", "spec.squashLayer", "0")]
#[case("Commit", "status", r#"{"phase":"Pending"}"#)]
#[case("TrafficPolicy", "spec.priority", "1000")]
#[case("SandboxSet", "spec.updateStrategy", r#"{"maxUnavailable":"20%"}"#)]
#[case("SandboxSet", "spec.updateStrategy.maxUnavailable", "\"20%\"")]
fn defaults(#[case] kind: &str, #[case] path: &str, #[case] expected: &str) {
    assert_eq!(property(kind, path).default.map(|default| default.0.to_string()).as_deref(), Some(expected));
}

#[rstest]
#[case("Sandbox", "spec.shutdownTime")]
#[case("Sandbox", "spec.template")]
#[case("SandboxClaim", "spec.dynamicVolumesMount")]
#[case("SandboxSet", "spec.scaleStrategy.maxUnavailable")]
#[case("SandboxUpdateOps", "spec.updateStrategy.maxUnavailable")]
fn fields_without_a_default(#[case] kind: &str, #[case] path: &str) {
    assert_eq!(property(kind, path).default, None);
}

#[rstest]
#[case("SandboxClaim", "spec.replicas", "self == oldSelf")]
#[case("SandboxClaim", "spec.claimTimeout", "duration(self) >= duration('1s')")]
#[case("SandboxClaim", "spec.waitReadyTimeout", "duration(self) >= duration('1s')")]
#[case("Commit", "spec.image", "self == oldSelf")]
#[case("TrafficPolicy", "spec", "has(self.ingress) || has(self.egress)")]
#[case("SandboxSet", "spec", "!(has(self.template) && has(self.templateRef))")]
#[case("SandboxSet", "spec.replicas", "self >= 0")]
#[case("SandboxTemplate", "spec", "has(self.template)")]
#[case("SandboxUpdateOps", "spec.selector", "self == oldSelf")]
#[case("SandboxUpdateOps", "spec.lifecycle", "self == oldSelf")]
fn validation_rules(#[case] kind: &str, #[case] path: &str, #[case] rule: &str) {
    let rules = property(kind, path).x_kubernetes_validations.unwrap_or_default();
    assert!(rules.iter().any(|found| found.rule == rule), "{rules:?}");
}

#[rstest]
#[case("Sandbox", "spec.runtimes", "atomic", &[])]
#[case("Sandbox", "spec.persistentContents", "atomic", &[])]
#[case("Sandbox", "status.conditions", "map", &["type"])]
#[case("SandboxClaim", "spec.dynamicVolumesMount", "map", &["mountPath"])]
#[case("SandboxUpdateOps", "spec.stateFilter.states", "set", &[])]
fn list_types(#[case] kind: &str, #[case] path: &str, #[case] list_type: &str, #[case] keys: &[&str]) {
    let schema = property(kind, path);
    assert_eq!(schema.x_kubernetes_list_type.as_deref(), Some(list_type));
    assert_eq!(schema.x_kubernetes_list_map_keys.unwrap_or_default(), keys);
}

#[rstest]
#[case("Sandbox")]
#[case("SandboxSet")]
#[case("SandboxTemplate")]
fn templates_have_no_schema(#[case] kind: &str) {
    let template = property(kind, "spec.template");
    assert_eq!(template.x_kubernetes_preserve_unknown_fields, Some(true));
    assert!(template.properties.is_none());
}

#[rstest]
#[case("SandboxSet", "spec", &["replicas"])]
#[case("SandboxSet", "status", &["availableReplicas", "replicas"])]
#[case("SandboxClaim", "spec", &["templateName"])]
#[case("SandboxUpdateOps", "spec", &["selector"])]
#[case("SandboxUpdateOps", "status", &["failedReplicas", "replicas", "updatedReplicas", "updatingReplicas"])]
#[case("Commit", "spec", &["containerName", "image", "podName"])]
#[case("TrafficPolicy", "spec", &["selector"])]
#[case("Sandbox", "spec", &[])]
fn required_fields(#[case] kind: &str, #[case] path: &str, #[case] expected: &[&str]) {
    let mut required = property(kind, path).required.unwrap_or_default();
    required.sort();
    assert_eq!(required, expected);
}

#[test]
fn nothing_is_nullable() {
    for manifest in contract::crd::manifests().expect("written as YAML") {
        assert!(!manifest.yaml.contains("nullable"), "{}", manifest.file_name);
    }
}
