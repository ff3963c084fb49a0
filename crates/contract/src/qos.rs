//! Quality-of-service classes of pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity::milli;

/// `Guaranteed`, `Burstable` or `BestEffort`, from CPU and memory of every container.
pub fn class(spec: &PodSpec) -> &'static str {
    let containers: Vec<_> = spec.init_containers.iter().flatten().chain(&spec.containers).collect();
    if containers
        .iter()
        .all(|container| ["cpu", "memory"].iter().all(|name| of(container, name) == (None, None)))
    {
        return "BestEffort";
    }
    let guaranteed = containers.iter().all(|container| {
        ["cpu", "memory"].iter().all(|name| match of(container, name) {
            (None, Some(_)) => true, // an absent request is the limit
            (Some(request), Some(limit)) => request == limit,
            _ => false,
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

/// Request and limit of a resource; zero counts as absent.
fn of(container: &Container, name: &str) -> (Option<u64>, Option<u64>) {
    let value = |map: Option<&BTreeMap<String, Quantity>>| {
        map.and_then(|map| map.get(name)).and_then(|quantity| milli(&quantity.0)).filter(|value| *value > 0)
    };
    let resources = container.resources.as_ref();
    (
        value(resources.and_then(|resources| resources.requests.as_ref())),
        value(resources.and_then(|resources| resources.limits.as_ref())),
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({}), "BestEffort")]
    #[case(json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed")]
    #[case(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}), "Guaranteed")]
    #[case(json!({"requests": {"cpu": "1"}}), "Burstable")]
    #[case(json!({"limits": {"cpu": "1"}}), "Burstable")]
    fn classes(#[case] resources: serde_json::Value, #[case] expected: &str) {
        let spec = serde_json::from_value(json!({"containers": [{"name": "main", "resources": resources}]}));
        assert_eq!(class(&spec.expect("a spec")), expected);
    }
}
