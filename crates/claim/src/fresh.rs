//! A sandbox made for one claim because the pool is empty (`kubernetes.md` §3.3, §3.7).

use std::collections::BTreeMap;

use contract::crd::{Sandbox, SandboxSet, SandboxSpec};
use contract::names::{self, annotations, labels};
use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use rand::Rng as _;
use serde_json::Value;

use crate::{CloneName, Origin};

/// Letters of generated names, those that Kubernetes uses: no vowels, no look-alikes.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Random letters behind the set's name.
const SUFFIX: usize = 5;
/// The longest prefix of a generated name.
const LONGEST_PREFIX: usize = 58;
/// Value of the priority annotation: somebody waits for this pod.
const PRIORITY: &str = "100";

/// A sandbox as the set would make it, without owner and with priority. `referred` is the pod template in use where
/// the set refers to one.
pub(crate) fn sandbox(set: &SandboxSet, referred: Option<&Value>) -> Sandbox {
    let set_name = set.name_any();
    let template_name =
        set.spec.template_ref.as_ref().map_or_else(|| set_name.clone(), |reference| reference.name.clone());
    let template = set.spec.template.as_ref().or(referred);
    let mut all_labels = inherited(template, "labels");
    all_labels.insert(labels::SANDBOX_POOL.to_owned(), set_name.clone());
    all_labels.insert(labels::SANDBOX_TEMPLATE.to_owned(), template_name);
    let mut all_annotations = inherited(template, "annotations");
    all_annotations.insert(annotations::SANDBOX_PRIORITY.to_owned(), PRIORITY.to_owned());
    let metadata = ObjectMeta {
        namespace: set.namespace(),
        name: Some(generated_name(&set_name)),
        labels: Some(all_labels),
        annotations: Some(all_annotations),
        ..ObjectMeta::default()
    };
    let spec = SandboxSpec {
        pause_strategy: set.spec.pause_strategy.clone(),
        persistent_contents: set.spec.persistent_contents.clone(),
        runtimes: set.spec.runtimes.clone(),
        template_ref: set.spec.template_ref.clone(),
        template: set.spec.template.clone(),
        volume_claim_templates: set.spec.volume_claim_templates.clone(),
        ..SandboxSpec::default()
    };
    Sandbox { metadata, spec, status: None }
}

/// A sandbox made from a checkpoint: `set` says what the checkpoint's template says. It belongs to no pool.
pub(crate) fn clone(set: &SandboxSet, origin: &Origin) -> Sandbox {
    let template = set.spec.template.as_ref();
    let mut all_labels = inherited(template, "labels");
    all_labels.insert(labels::SANDBOX_TEMPLATE.to_owned(), set.name_any());
    let mut all_annotations = inherited(template, "annotations");
    all_annotations.insert(annotations::RESTORE_FROM.to_owned(), origin.checkpoint.clone());
    let name = match &origin.name {
        CloneName::OfCheckpoint => generated_name(&origin.checkpoint),
        CloneName::Prefixed(prefix) => generated_name(prefix.trim_end_matches('-')),
        CloneName::Exactly(name) => name.clone(),
    };
    let metadata = ObjectMeta {
        namespace: set.namespace(),
        name: Some(name),
        labels: Some(all_labels),
        annotations: Some(all_annotations),
        ..ObjectMeta::default()
    };
    let spec = SandboxSpec {
        persistent_contents: set.spec.persistent_contents.clone(),
        runtimes: set.spec.runtimes.clone(),
        template: set.spec.template.clone(),
        volume_claim_templates: set.spec.volume_claim_templates.clone(),
        ..SandboxSpec::default()
    };
    Sandbox { metadata, spec, status: None }
}

/// A name like those of a pool's own sandboxes: `prefix`, cut if need be, and letters drawn by chance. It is made here
/// and not by the API server, so that it is known whatever becomes of the request.
pub fn generated_name(prefix: &str) -> String {
    let prefix: String = prefix.chars().take(LONGEST_PREFIX - 1).collect();
    let mut random = rand::rng();
    let suffix: String =
        (0..SUFFIX).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect();
    format!("{prefix}-{suffix}")
}

/// The pod template's labels or annotations that a Sandbox takes over.
fn inherited(template: Option<&Value>, member: &str) -> BTreeMap<String, String> {
    let entries = template.and_then(|template| template.get("metadata")?.get(member)?.as_object());
    let texts = entries
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    texts.filter(|(key, _)| !names::is_internal_key(key)).collect()
}

#[cfg(test)]
mod tests {
    use contract::crd::{RuntimeConfig, SandboxSetSpec};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fresh_sandbox_is_what_the_set_would_make_without_an_owner() {
        let template = json!({
            "metadata": {"labels": {"app": "demo", "agents.kruise.io/owner": "x"}, "annotations": {"note": "kept"}},
            "spec": {"containers": [{"name": "sandbox", "image": "demo"}]},
        });
        let mut set = SandboxSet::new(
            "demo",
            SandboxSetSpec {
                replicas: 2,
                template: Some(template),
                runtimes: Some(vec![RuntimeConfig::named("csi")]),
                ..SandboxSetSpec::default()
            },
        );
        set.metadata.namespace = Some("default".into());
        let mut made = sandbox(&set, None);
        assert!(made.name_any().starts_with("demo-") && made.name_any().len() == "demo-".len() + SUFFIX);
        made.metadata.name = Some("demo-xxxxx".into());
        insta::assert_yaml_snapshot!(made);
    }
}
