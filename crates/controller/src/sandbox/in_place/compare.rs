//! How a Sandbox's template and its pod differ (`kubernetes.md` §5.8).

use std::collections::BTreeMap;

use contract::crd::Sandbox;
use contract::crd::template::pod_template;
use contract::names::{annotations, labels};
use contract::{hash, quantity};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;

/// How a Sandbox's template and its pod differ.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Difference {
    /// The pod has the revision, or none to compare with.
    None,
    /// Labels and annotations only.
    Metadata,
    /// Images or resources.
    Containers(Change),
    /// Something that can't change in place.
    Forbidden,
}

/// What is to change of the pod's containers, by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Change {
    /// The images.
    pub(crate) images: BTreeMap<String, String>,
    /// The resources, whole as the template has them.
    pub(crate) resources: BTreeMap<String, ResourceRequirements>,
}

impl Change {
    /// `spec` after the change of resources.
    pub(super) fn resized(&self, spec: &PodSpec) -> PodSpec {
        let mut spec = spec.clone();
        for container in &mut spec.containers {
            let Some(wanted) = self.resources.get(&container.name) else { continue };
            let resources = container.resources.get_or_insert_default();
            for (own, wanted) in
                [(&mut resources.requests, &wanted.requests), (&mut resources.limits, &wanted.limits)]
            {
                own.get_or_insert_default().extend(wanted.clone().unwrap_or_default());
            }
        }
        spec
    }
}

/// Compares by hash first, then by content.
pub(crate) fn compare(sandbox: &Sandbox, pod: &Pod) -> Difference {
    let Some(pod_revision) = pod.labels().get(labels::POD_TEMPLATE_HASH) else { return Difference::None };
    if *pod_revision == hash::update_revision(sandbox) || sandbox.spec.upgrade_policy.is_some() {
        return Difference::None;
    }
    let written = sandbox.annotations().get(annotations::HASH_IMMUTABLE_PART);
    if written.is_some_and(|written| *written != hash::immutable_part(sandbox)) {
        return Difference::Forbidden;
    }
    let template = sandbox.spec.template.as_ref().and_then(|raw| pod_template(raw).ok());
    let Some(wanted) = template.and_then(|template| template.spec) else { return Difference::None };
    let Some(actual) = &pod.spec else { return Difference::None };
    let mut change = Change::default();
    for container in wanted.containers {
        let Some(actual) = actual.containers.iter().find(|actual| actual.name == container.name) else {
            return Difference::Forbidden;
        };
        note(container, actual, &mut change);
    }
    if change == Change::default() { Difference::Metadata } else { Difference::Containers(change) }
}

fn note(wanted: Container, actual: &Container, change: &mut Change) {
    if !has_resources(wanted.resources.as_ref(), actual.resources.as_ref()) {
        change.resources.insert(wanted.name.clone(), wanted.resources.unwrap_or_default());
    }
    if let Some(image) = wanted.image
        && actual.image.as_ref() != Some(&image)
    {
        change.images.insert(wanted.name, image);
    }
}

/// Whether `actual` has every quantity that `wanted` names; the API server may have added more.
pub(super) fn has_resources(
    wanted: Option<&ResourceRequirements>,
    actual: Option<&ResourceRequirements>,
) -> bool {
    let Some(wanted) = wanted else { return true };
    let none = ResourceRequirements::default();
    let actual = actual.unwrap_or(&none);
    let within = |wanted: &Option<BTreeMap<String, Quantity>>,
                  actual: &Option<BTreeMap<String, Quantity>>| {
        wanted.iter().flatten().all(|(name, wanted)| {
            let found = actual.as_ref().and_then(|actual| actual.get(name));
            found.is_some_and(|found| quantity::is_same(&found.0, &wanted.0))
        })
    };
    within(&wanted.requests, &actual.requests) && within(&wanted.limits, &actual.limits)
}
