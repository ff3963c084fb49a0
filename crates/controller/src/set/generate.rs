//! The Sandbox that a set generates (`kubernetes.md` §3.3), as a pure function.

use std::collections::BTreeMap;

use contract::crd::{Sandbox, SandboxSet, SandboxSpec};
use contract::hash;
use contract::names::{annotations, is_internal_key, labels};
use kube::api::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};
use serde_json::Value;

/// Longest generateName; five random characters follow.
const PREFIX_LIMIT: usize = 58;

/// A member of `set` at `revision`. `template` is the pod template in use, inline or referenced.
///
/// The annotation `hash-immutable-part` is there from the start, which saves a write for every sandbox.
pub fn sandbox(set: &SandboxSet, revision: &str, template: &Value) -> Sandbox {
    let mut sandbox = Sandbox { spec: spec(set), ..Sandbox::default() };
    let mut sandbox_labels = template_entries(template, "labels");
    let template_name =
        set.spec.template_ref.as_ref().map_or_else(|| set.name_any(), |reference| reference.name.clone());
    sandbox_labels.extend([
        (labels::SANDBOX_POOL.to_owned(), set.name_any()),
        (labels::SANDBOX_TEMPLATE.to_owned(), template_name),
        (labels::SANDBOX_CLAIMED.to_owned(), "false".to_owned()),
        (labels::TEMPLATE_HASH.to_owned(), revision.to_owned()),
    ]);
    let mut sandbox_annotations = template_entries(template, "annotations");
    sandbox_annotations.insert(annotations::HASH_IMMUTABLE_PART.to_owned(), hash::immutable_part(&sandbox));
    sandbox.metadata = ObjectMeta {
        generate_name: Some(prefix(&set.name_any())),
        namespace: set.metadata.namespace.clone(),
        labels: Some(sandbox_labels),
        annotations: Some(sandbox_annotations),
        owner_references: set.controller_owner_ref(&()).map(|mut owner| {
            owner.block_owner_deletion = Some(true);
            vec![owner]
        }),
        ..ObjectMeta::default()
    };
    sandbox
}

fn spec(set: &SandboxSet) -> SandboxSpec {
    SandboxSpec {
        template: set.spec.template.clone(),
        template_ref: set.spec.template_ref.clone(),
        volume_claim_templates: set.spec.volume_claim_templates.clone(),
        persistent_contents: set.spec.persistent_contents.clone(),
        runtimes: set.spec.runtimes.clone(),
        pause_strategy: set.spec.pause_strategy.clone(),
        ..SandboxSpec::default()
    }
}

fn prefix(set: &str) -> String {
    let mut prefix: String = set.chars().take(PREFIX_LIMIT - 1).collect();
    prefix.push('-');
    prefix
}

/// The template's labels or annotations without those that stay with the pod.
fn template_entries(template: &Value, kind: &str) -> BTreeMap<String, String> {
    let entries = template.pointer(&format!("/metadata/{kind}")).and_then(Value::as_object);
    entries
        .into_iter()
        .flatten()
        .filter(|(key, _)| !is_internal_key(key))
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}
