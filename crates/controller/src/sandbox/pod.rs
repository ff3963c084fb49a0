//! The pod of a Sandbox (`kubernetes.md` §5.2), as a pure function of what was read for it.

use contract::crd::template::volume_claim_templates;
use contract::crd::{RuntimeConfig, Sandbox};
use contract::errors::Problem;
use contract::hash;
use contract::injection::{self, InjectionConfig};
use contract::names::{annotations, labels};
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

/// A pod to be created, with what goes along with it.
#[derive(Clone, Debug, PartialEq)]
pub struct PodParts {
    /// The pod.
    pub pod: Pod,
    /// Claims that must exist first.
    pub claims: Vec<PersistentVolumeClaim>,
    /// Injected items that were dropped in favour of the user's own, a sentence each.
    pub clashes: Vec<String>,
}

/// Builds the pod of `sandbox` from its `template`. `config` is the ConfigMap with the injection templates, or
/// nothing when it does not exist; it is not looked at when the Sandbox names no runtimes.
///
/// # Errors
/// A claim template that is none, or a failing injection.
pub fn build(
    sandbox: &Sandbox,
    template: PodTemplateSpec,
    config: Option<&ConfigMap>,
) -> Result<PodParts, Problem> {
    let made_of = made_of(sandbox, &template, config);
    let template_metadata = template.metadata.unwrap_or_default();
    let created_by = (labels::CREATED_BY.to_owned(), labels::CREATED_BY_SANDBOX.to_owned());
    let mut pod_labels = template_metadata.labels.unwrap_or_default();
    pod_labels
        .extend([created_by.clone(), (labels::POD_TEMPLATE_HASH.to_owned(), hash::update_revision(sandbox))]);
    let mut pod_annotations = template_metadata.annotations.unwrap_or_default();
    pod_annotations.extend([created_by, (annotations::MADE_OF.to_owned(), made_of)]);
    pod_annotations.remove(annotations::HIBERNATE);
    // Only the Sandbox says whose files a container starts with: a template must not.
    pod_annotations.remove(annotations::RESTORE_FROM);
    if let Some(checkpoint) = sandbox.annotations().get(annotations::RESTORE_FROM) {
        pod_annotations.insert(annotations::RESTORE_FROM.to_owned(), checkpoint.clone());
    }
    let mut pod = Pod {
        metadata: ObjectMeta {
            name: sandbox.metadata.name.clone(),
            namespace: sandbox.metadata.namespace.clone(),
            labels: Some(pod_labels),
            annotations: Some(pod_annotations),
            owner_references: Some(vec![owner(sandbox)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.unwrap_or_default()),
        status: None,
    };
    if is_of_a_template(sandbox) {
        pod.spec.get_or_insert_default().automount_service_account_token = Some(false);
    }
    let claims = claims(sandbox)?;
    add_claim_volumes(&mut pod, sandbox, &claims);
    let runtimes: &[RuntimeConfig] = sandbox.spec.runtimes.as_deref().unwrap_or_default();
    let clashes = injection::inject(&mut pod, runtimes, InjectionConfig::new(config))?;
    Ok(PodParts { pod, claims, clashes })
}

/// What a pod of `sandbox` is made of that the Sandbox doesn't hold itself, as a hash: the injection configuration, where it names
/// runtimes, and the template, where it refers to one.
pub(super) fn made_of(sandbox: &Sandbox, template: &PodTemplateSpec, config: Option<&ConfigMap>) -> String {
    let has_runtimes = sandbox.spec.runtimes.as_ref().is_some_and(|runtimes| !runtimes.is_empty());
    let config = config.filter(|_| has_runtimes).and_then(|config| config.data.as_ref());
    let template = sandbox.spec.template_ref.as_ref().map(|_| template);
    hash::of_parts(&json!({"configuration": config, "template": template}))
}

/// Whether a `SandboxSet` or `SandboxTemplate` is behind the Sandbox. Their admission turns the token of the service
/// account off, whatever their pod template says (`kubernetes.md` §8); it's done here, where the pod is made, so that
/// it counts for each way from there to a pod and the hashes of the templates stay the user's own.
fn is_of_a_template(sandbox: &Sandbox) -> bool {
    sandbox.spec.template_ref.is_some() || sandbox.labels().contains_key(labels::SANDBOX_TEMPLATE)
}

fn owner(sandbox: &Sandbox) -> OwnerReference {
    // every object read from the API has a name and a UID
    let reference = sandbox.controller_owner_ref(&()).unwrap_or_default();
    OwnerReference { block_owner_deletion: Some(true), ..reference }
}

/// The claims of the Sandbox: named after template and Sandbox, owned by it.
fn claims(sandbox: &Sandbox) -> Result<Vec<PersistentVolumeClaim>, Problem> {
    let templates =
        volume_claim_templates(sandbox.spec.volume_claim_templates.as_deref().unwrap_or_default())?;
    Ok(templates
        .into_iter()
        .map(|template| {
            let name = format!("{}-{}", template.metadata.name.unwrap_or_default(), sandbox.name_any());
            PersistentVolumeClaim {
                metadata: ObjectMeta {
                    name: Some(name),
                    namespace: sandbox.metadata.namespace.clone(),
                    labels: template.metadata.labels,
                    annotations: template.metadata.annotations,
                    owner_references: Some(vec![owner(sandbox)]),
                    ..ObjectMeta::default()
                },
                spec: template.spec,
                status: None,
            }
        })
        .collect())
}

/// A volume named after the claim template for every claim; one of that name in the pod template gives way, as with
/// a `StatefulSet`.
fn add_claim_volumes(pod: &mut Pod, sandbox: &Sandbox, claims: &[PersistentVolumeClaim]) {
    if claims.is_empty() {
        return;
    }
    let suffix = format!("-{}", sandbox.name_any());
    let volumes = pod.spec.get_or_insert_default().volumes.get_or_insert_default();
    for claim in claims {
        let claim_name = claim.name_any();
        let name = claim_name.strip_suffix(&suffix).unwrap_or(&claim_name).to_owned();
        volumes.retain(|volume| volume.name != name);
        volumes.push(Volume {
            name,
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name, read_only: None }),
            ..Volume::default()
        });
    }
}
