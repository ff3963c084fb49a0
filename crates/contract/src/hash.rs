//! Revision hashes (`kubernetes.md` §2.6).
//!
//! Stability and sensitivity to the same fields as upstream matter, not the same bytes: the JSON that is hashed is
//! written with sorted keys.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::crd::{Sandbox, SandboxSetSpec};

/// Letters that can't form words, as Kubernetes uses for generated names.
const SAFE_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Characters of a template hash.
const HASH_LENGTH: usize = 9;

/// `status.updateRevision` of a Sandbox, also label `pod-template-hash` of its pod: covers the inline template, or
/// the reference to one.
pub fn update_revision(sandbox: &Sandbox) -> String {
    safe_sha256(&hashed_template(sandbox))
}

/// Annotation `hash-immutable-part`: the same without template labels and annotations and with image and resources of
/// containers and init containers blanked.
pub fn immutable_part(sandbox: &Sandbox) -> String {
    let mut template = hashed_template(sandbox);
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("labels");
        metadata.remove("annotations");
    }
    for list in ["containers", "initContainers"] {
        let containers = template.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            container.remove("image");
            container.remove("resources");
        }
    }
    if template.get("metadata").and_then(Value::as_object).is_some_and(Map::is_empty)
        && let Some(template) = template.as_object_mut()
    {
        template.remove("metadata");
    }
    safe_sha256(&template)
}

/// `status.updateRevision` of a SandboxSet and label `template-hash` of its sandboxes. With a templateRef, `template`
/// is the referenced template's content.
pub fn set_revision(spec: &SandboxSetSpec, template: Option<&Value>) -> String {
    let input = json!({
        "template": template,
        "volumeClaimTemplates": spec.volume_claim_templates,
        "persistentContents": spec.persistent_contents,
        "runtimes": spec.runtimes,
        "pauseStrategy": spec.pause_strategy,
    });
    safe(fnv1_32(canonical(&input).as_bytes()).to_string().as_bytes())
}

fn hashed_template(sandbox: &Sandbox) -> Value {
    match (&sandbox.spec.template, &sandbox.spec.template_ref) {
        (Some(template), _) => template.clone(),
        (None, Some(reference)) => {
            json!({"name": reference.name, "kind": reference.kind, "apiVersion": reference.api_version})
        }
        (None, None) => Value::Null,
    }
}

/// A hash of whatever else two pods are compared by.
pub fn of_parts(parts: &Value) -> String {
    safe_sha256(parts)
}

fn safe_sha256(value: &Value) -> String {
    let digest = hex::encode(Sha256::digest(canonical(value).as_bytes()));
    safe(&digest.as_bytes()[..HASH_LENGTH])
}

fn safe(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(SAFE_ALPHABET[usize::from(*byte) % SAFE_ALPHABET.len()])).collect()
}

fn fnv1_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte))
}

/// JSON with sorted keys and without members that are null.
fn canonical(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let mut entries: Vec<_> = members.iter().filter(|(_, member)| !member.is_null()).collect();
                entries.sort_by(|left, right| left.0.cmp(right.0));
                Value::Object(
                    entries.into_iter().map(|(name, member)| (name.clone(), sorted(member))).collect(),
                )
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}
