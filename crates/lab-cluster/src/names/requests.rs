//! What sandboxes ask of a cluster that is smaller than a scenario's file supposes.

use serde_json::{Value, json};

/// The lists of containers in a pod's specification.
const CONTAINERS: [&str; 2] = ["containers", "initContainers"];

/// Lowers what the containers of a pool's or a sandbox's template request; limits stay. Without this four sandboxes of
/// the product document don't fit on a machine with two processors, whatever they use.
pub(crate) fn lower(object: &mut Value) {
    let Some(pod) = object.pointer_mut("/spec/template/spec") else { return };
    for list in CONTAINERS {
        let Some(Value::Array(containers)) = pod.get_mut(list) else { continue };
        for container in containers.iter_mut().filter(|container| container.get("resources").is_some()) {
            // Not left out: a request that is missing is as large as its limit.
            container["resources"]["requests"] = json!({"cpu": "10m", "memory": "32Mi"});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lowered_and_limits_stay() {
        let set = |requests: Value| {
            json!({"spec": {"template": {"spec": {"containers": [
                {"name": "a", "resources": {"limits": {"cpu": "1"}, "requests": requests}},
                {"name": "b"},
            ]}}}})
        };
        let mut object = set(json!({"cpu": "1", "memory": "1Gi"}));
        lower(&mut object);
        assert_eq!(object, set(json!({"cpu": "10m", "memory": "32Mi"})));
    }
}
