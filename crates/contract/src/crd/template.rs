//! Looking into the schemaless parts: pod templates and volume claim templates.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodTemplateSpec};
use serde_json::Value;

use crate::errors::{Code, Problem};
use crate::names::E2B_PREFIX;

/// The pod template in `raw`.
///
/// # Errors
/// [`Code::InvalidTemplate`] with the place where it stops being one.
pub fn pod_template(raw: &Value) -> Result<PodTemplateSpec, Problem> {
    serde_json::from_value(raw.clone()).map_err(|error| {
        Problem::new(Code::InvalidTemplate, format!("the pod template cannot be read: {error}"))
    })
}

/// The volume claim templates in `raw`.
///
/// # Errors
/// [`Code::InvalidTemplate`] naming the index of the first that is none.
pub fn volume_claim_templates(raw: &[Value]) -> Result<Vec<PersistentVolumeClaim>, Problem> {
    raw.iter()
        .enumerate()
        .map(|(index, claim)| {
            serde_json::from_value(claim.clone()).map_err(|error| {
                Problem::new(
                    Code::InvalidTemplate,
                    format!("volumeClaimTemplates[{index}] is not a PersistentVolumeClaim: {error}"),
                )
            })
        })
        .collect()
}

/// What the admission of upstream refuses in the schemaless parts of a `SandboxSet` (`kubernetes.md` §8). The pod
/// template's own rules are the API server's, which applies them to the pod.
///
/// # Errors
/// [`Code::InvalidTemplate`] with the first rule that is broken.
pub fn check(template: &Value, claims: &[Value]) -> Result<(), Problem> {
    let pod = pod_template(template)?;
    let metadata = pod.metadata.unwrap_or_default();
    let labels = metadata.labels.iter().flatten().map(|(key, _)| ("labels", key));
    let annotations = metadata.annotations.iter().flatten().map(|(key, _)| ("annotations", key));
    if let Some((place, key)) = labels.chain(annotations).find(|(_, key)| key.starts_with(E2B_PREFIX)) {
        return Err(invalid(format!(
            "template.metadata.{place}: {key:?} begins with {E2B_PREFIX}, which is reserved; rename it"
        )));
    }
    let spec = pod.spec.unwrap_or_default();
    if spec.containers.is_empty() {
        return Err(invalid("template.spec.containers: at least one container is required".to_owned()));
    }
    let mounted = |name: &str| {
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let mut mounts = containers.flat_map(|container| container.volume_mounts.iter().flatten());
        mounts.any(|mount| mount.name == name)
    };
    for (index, claim) in volume_claim_templates(claims)?.into_iter().enumerate() {
        let name = claim.metadata.name.unwrap_or_default();
        if !mounted(&name) {
            return Err(invalid(format!(
                "volumeClaimTemplates[{index}]: no container of the template mounts {name:?}; add it to its volumeMounts"
            )));
        }
    }
    Ok(())
}

fn invalid(message: String) -> Problem {
    Problem::new(Code::InvalidTemplate, message)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::plain(json!({"spec": {"containers": [{"name": "main"}]}}), json!([]), None)]
    #[case::own_metadata(json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "main"}]}}), json!([]), None)]
    #[case::no_pod(json!({"spec": {"containers": "none"}}), json!([]), Some("cannot be read"))]
    #[case::no_container(json!({"spec": {"containers": []}}), json!([]), Some("at least one container"))]
    #[case::no_spec(json!({"metadata": {}}), json!([]), Some("at least one container"))]
    #[case::reserved_label(
        json!({"metadata": {"labels": {"e2b.agents.kruise.io/csi-volume-name": "x"}}, "spec": {"containers": [{"name": "main"}]}}),
        json!([]),
        Some("template.metadata.labels: \"e2b.agents.kruise.io/csi-volume-name\"")
    )]
    #[case::reserved_annotation(
        json!({"metadata": {"annotations": {"e2b.agents.kruise.io/x": "x"}}, "spec": {"containers": [{"name": "main"}]}}),
        json!([]),
        Some("template.metadata.annotations")
    )]
    #[case::mounted_claim(
        json!({"spec": {"containers": [{"name": "main", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]}}),
        json!([{"metadata": {"name": "data"}}]),
        None
    )]
    #[case::claim_for_nobody(
        json!({"spec": {"containers": [{"name": "main"}]}}),
        json!([{"metadata": {"name": "data"}}]),
        Some("volumeClaimTemplates[0]: no container of the template mounts \"data\"")
    )]
    fn what_admission_refuses(#[case] template: Value, #[case] claims: Value, #[case] phrase: Option<&str>) {
        let claims: Vec<Value> = serde_json::from_value(claims).expect("a list");
        let found = check(&template, &claims).err().map(|problem| problem.message().to_owned());
        match phrase {
            None => assert_eq!(found, None),
            Some(phrase) => assert!(found.as_ref().is_some_and(|text| text.contains(phrase)), "{found:?}"),
        }
    }
}
