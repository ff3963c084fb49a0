//! What of a changed template can reach the running pod (`kubernetes.md` §5.8).

use std::collections::BTreeMap;

use contract::crd::Sandbox;
use contract::crd::template::pod_template;
use contract::hash;
use contract::names::{annotations, labels};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;

/// How a Sandbox's template and its pod differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InPlace {
    /// The pod has the revision, or none to compare with.
    UpToDate,
    /// Labels and annotations only.
    MetadataChanged,
    /// Images or resources.
    ContainersChanged,
    /// Something that can't change in place.
    Forbidden,
}

/// Compares by hash first, then by content.
pub(super) fn compare(sandbox: &Sandbox, pod: &Pod) -> InPlace {
    let Some(pod_revision) = pod.labels().get(labels::POD_TEMPLATE_HASH) else { return InPlace::UpToDate };
    if *pod_revision == hash::update_revision(sandbox) || sandbox.spec.upgrade_policy.is_some() {
        return InPlace::UpToDate;
    }
    let written = sandbox.annotations().get(annotations::HASH_IMMUTABLE_PART);
    if written.is_some_and(|written| *written != hash::immutable_part(sandbox)) {
        return InPlace::Forbidden;
    }
    let template = sandbox.spec.template.as_ref().and_then(|raw| pod_template(raw).ok());
    let Some(wanted) = template.and_then(|template| template.spec) else { return InPlace::UpToDate };
    let Some(actual) = &pod.spec else { return InPlace::UpToDate };
    let all_same = wanted.containers.iter().all(|wanted| {
        actual
            .containers
            .iter()
            .find(|actual| actual.name == wanted.name)
            .is_some_and(|actual| is_same(wanted, actual))
    });
    if all_same { InPlace::MetadataChanged } else { InPlace::ContainersChanged }
}

fn is_same(wanted: &Container, actual: &Container) -> bool {
    wanted.image == actual.image && has_resources(wanted.resources.as_ref(), actual.resources.as_ref())
}

/// Whether the pod has every quantity that the template names; the API server may have added more.
fn has_resources(wanted: Option<&ResourceRequirements>, actual: Option<&ResourceRequirements>) -> bool {
    let Some(wanted) = wanted else { return true };
    let none = ResourceRequirements::default();
    let actual = actual.unwrap_or(&none);
    let within = |wanted: &Option<BTreeMap<String, Quantity>>,
                  actual: &Option<BTreeMap<String, Quantity>>| {
        wanted.iter().flatten().all(|(name, quantity)| {
            actual.as_ref().and_then(|actual| actual.get(name)).is_some_and(|found| found == quantity)
        })
    };
    within(&wanted.requests, &actual.requests) && within(&wanted.limits, &actual.limits)
}
