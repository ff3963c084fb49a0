//! Definitions of custom kinds.

use serde_json::{Value, json};

use super::{default, items};
use crate::error::Cause;
use crate::lifecycle::{DEFINITION_CLEANUP, established};

/// A definition is served as soon as it is stored, and kept until its objects are gone.
pub(super) fn complete(definition: &mut Value, now: &str) {
    let kind = definition["spec"]["names"]["kind"].as_str().unwrap_or_default().to_owned();
    default(&mut definition["spec"], "conversion", json!({"strategy": "None"}));
    let names = &mut definition["spec"]["names"];
    default(names, "listKind", format!("{kind}List"));
    default(names, "singular", kind.to_lowercase());
    let accepted = names.clone();
    let stored = stored_version(definition);
    default(definition, "status", json!({}));
    let status = &mut definition["status"];
    default(status, "conditions", established(now));
    default(status, "storedVersions", json!([stored]));
    status["acceptedNames"] = accepted;
    let dying = !definition["metadata"]["deletionTimestamp"].is_null();
    if !dying && !crate::lifecycle::has_finalizer(definition, DEFINITION_CLEANUP) {
        let mut finalizers = items(&definition["metadata"]["finalizers"]).to_vec();
        finalizers.push(DEFINITION_CLEANUP.into());
        definition["metadata"]["finalizers"] = finalizers.into();
    }
}

fn stored_version(definition: &Value) -> Value {
    items(&definition["spec"]["versions"])
        .iter()
        .find(|version| version["storage"] == true)
        .map_or(Value::Null, |version| version["name"].clone())
}

pub(super) fn check(definition: &Value) -> Vec<Cause> {
    let spec = &definition["spec"];
    let mut causes = Vec::new();
    for (field, value) in [
        ("spec.group", &spec["group"]),
        ("spec.scope", &spec["scope"]),
        ("spec.names.plural", &spec["names"]["plural"]),
        ("spec.names.kind", &spec["names"]["kind"]),
    ] {
        if value.as_str().unwrap_or_default().is_empty() {
            causes.push(Cause::required(field, ""));
        }
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let expected = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
    if definition["metadata"]["name"] != *expected {
        let detail = format!("must be spec.names.plural+\".\"+spec.group: expected {expected:?}");
        causes.push(Cause::invalid("metadata.name", &definition["metadata"]["name"], &detail));
    }
    let versions = items(&spec["versions"]);
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &spec["versions"], detail));
    }
    for (index, version) in versions.iter().enumerate() {
        if version["schema"]["openAPIV3Schema"].is_null() {
            let field = format!("spec.versions[{index}].schema.openAPIV3Schema");
            causes.push(Cause::required(field, "schemas are required"));
        }
    }
    causes
}
