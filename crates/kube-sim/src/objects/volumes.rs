//! Persistent volumes and claims.

use serde_json::{Value, json};

use super::{default, items};
use crate::error::Cause;

/// Members of a volume's spec that are no volume source.
const NOT_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

pub(super) fn complete_volume(volume: &mut Value) {
    default(volume, "spec", json!({}));
    default(&mut volume["spec"], "persistentVolumeReclaimPolicy", "Retain");
    default(&mut volume["spec"], "volumeMode", "Filesystem");
    default(volume, "status", json!({}));
    default(&mut volume["status"], "phase", "Available");
}

pub(super) fn complete_claim(claim: &mut Value) {
    default(claim, "spec", json!({}));
    default(&mut claim["spec"], "volumeMode", "Filesystem");
    default(claim, "status", json!({}));
    default(&mut claim["status"], "phase", "Pending");
}

pub(super) fn check_volume(volume: &Value, current: Option<&Value>) -> Vec<Cause> {
    let spec = &volume["spec"];
    let mut causes = Vec::new();
    if items(&spec["accessModes"]).is_empty() {
        causes.push(Cause::required("spec.accessModes", ""));
    }
    let modes = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"];
    for mode in items(&spec["accessModes"]) {
        if !modes.iter().any(|known| mode == known) {
            causes.push(Cause::unsupported("spec.accessModes", mode, &modes.map(Value::from)));
        }
    }
    if spec["capacity"].as_object().is_none_or(serde_json::Map::is_empty) {
        causes.push(Cause::required("spec.capacity", ""));
    }
    causes.extend(check_source(spec));
    if let Some(current) = current
        && !same_source(&current["spec"], spec)
    {
        let detail = "spec.persistentvolumesource is immutable after creation";
        causes.push(Cause::forbidden("spec.persistentvolumesource", detail));
    }
    causes
}

fn sources(spec: &Value) -> Vec<(&String, &Value)> {
    let members = spec.as_object().into_iter().flatten();
    members.filter(|(name, value)| !NOT_SOURCES.contains(&name.as_str()) && !value.is_null()).collect()
}

fn check_source(spec: &Value) -> Vec<Cause> {
    let sources = sources(spec);
    if sources.is_empty() {
        return vec![Cause::required("spec", "must specify a volume type")];
    }
    let mut causes: Vec<Cause> = sources
        .iter()
        .skip(1)
        .map(|(name, _)| Cause::forbidden(format!("spec.{name}"), "may not specify more than 1 volume type"))
        .collect();
    let csi = &spec["csi"];
    if csi.is_object() {
        for member in ["driver", "volumeHandle"] {
            if csi[member].as_str().unwrap_or_default().is_empty() {
                causes.push(Cause::required(format!("spec.csi.{member}"), ""));
            }
        }
    }
    causes
}

fn same_source(old: &Value, new: &Value) -> bool {
    // References to Secrets of a CSI source may change; the volume itself may not.
    sources(old) == sources(new)
}
