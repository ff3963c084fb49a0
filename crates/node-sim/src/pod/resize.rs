//! Other resources for running containers, as a kubelet takes them over: at once where the node has them; where it has
//! not, the container keeps what it has and a condition of the pod says so.

use std::collections::BTreeMap;

use contract::quantity::milli;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::board::{Board, Record};
use super::containers;
use super::status::condition;
use crate::registration::RESOURCES;

/// The condition's type.
pub(crate) const PENDING: &str = "PodResizePending";

/// Gives every container what `spec` says, unless the node doesn't have it. Everybody looks again either way: what the
/// pod asks for is in its status too.
pub(crate) fn follow(board: &Board, spec: &PodSpec) {
    if lacking(spec).is_some() {
        return board.touch();
    }
    for (index, container) in containers(spec).enumerate() {
        let wanted = wanted(container);
        if board.get(index).is_some_and(|record| record.resources.as_ref() != wanted) {
            board.update(index, |record| record.resources = wanted.cloned());
        }
    }
    board.touch();
}

/// The condition of a pod some of whose containers don't have what they should.
pub(crate) fn pending(pod: &Pod, records: &[Record]) -> Option<PodCondition> {
    let spec = pod.spec.as_ref()?;
    let is_behind = containers(spec).zip(records).any(|(container, record)| {
        record.name == container.name && record.resources.as_ref() != wanted(container)
    });
    let message = lacking(spec).filter(|_| is_behind)?;
    let mut condition = condition(PENDING, true, Some(("Infeasible", message)));
    condition.observed_generation = pod.metadata.generation;
    Some(condition)
}

/// Whether a running container with `before` has to be started anew for what `after` says.
pub(crate) fn needs_restart(before: Option<&ResourceRequirements>, after: &Container) -> bool {
    let mut policies = after.resize_policy.iter().flatten();
    policies.any(|policy| {
        let of = |resources: Option<&ResourceRequirements>| {
            let resources = resources.cloned().unwrap_or_default();
            [resources.requests, resources.limits].map(|amounts| amounts?.get(&policy.resource_name).cloned())
        };
        policy.restart_policy == "RestartContainer" && of(before) != of(after.resources.as_ref())
    })
}

fn wanted(container: &Container) -> Option<&ResourceRequirements> {
    container.resources.as_ref().filter(|resources| **resources != ResourceRequirements::default())
}

/// What the containers ask for beyond what the node has, in a kubelet's words.
fn lacking(spec: &PodSpec) -> Option<String> {
    RESOURCES.iter().filter(|(name, _)| ["cpu", "memory"].contains(name)).find_map(|(name, capacity)| {
        let asked = |amounts: &Option<BTreeMap<String, Quantity>>| {
            amounts.as_ref().and_then(|amounts| milli(&amounts.get(*name)?.0)).unwrap_or(0)
        };
        let requests = containers(spec).filter_map(|container| container.resources.as_ref());
        let total: u64 = requests.map(|resources| asked(&resources.requests)).sum();
        let capacity = milli(capacity)?;
        (total > capacity).then(|| {
            format!("Node didn't have enough capacity: {name}, requested: {total}, capacity: {capacity}")
        })
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn pod(resources: &Value, policy: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "box", "generation": 7},
            "spec": {"containers": [{"name": "main", "resources": resources, "resizePolicy": policy}]},
        }))
        .expect("a pod")
    }

    #[rstest]
    #[case::taken_over(json!({"requests": {"cpu": "2"}}), true)]
    #[case::more_than_there_is(json!({"requests": {"cpu": "65"}}), false)]
    #[case::taken_away(json!({}), true)]
    fn a_running_container_gets_what_the_node_has(#[case] resources: Value, #[case] given: bool) {
        let before = pod(&json!({"requests": {"cpu": "1"}}), &json!([]));
        let board = Board::new(before.spec.as_ref().expect("a spec"));
        let after = pod(&resources, &json!([]));
        follow(&board, after.spec.as_ref().expect("a spec"));
        let pending = pending(&after, &board.records());
        assert_eq!(pending.is_none(), given);
        if let Some(pending) = pending {
            let message = "Node didn't have enough capacity: cpu, requested: 65000, capacity: 64000";
            assert_eq!(
                (pending.reason.as_deref(), pending.message.as_deref()),
                (Some("Infeasible"), Some(message))
            );
            assert_eq!(pending.observed_generation, Some(7));
        }
        let has = board.get(0).and_then(|record| record.resources);
        let wanted = if given { after } else { before };
        let wanted = wanted.spec.expect("a spec").containers[0].resources.clone();
        assert_eq!(has.unwrap_or_default(), wanted.unwrap_or_default());
    }

    #[rstest]
    #[case(json!([]), false)]
    #[case(json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]), false)]
    #[case(json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]), false)]
    #[case(json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]), true)]
    fn a_policy_can_ask_for_a_restart(#[case] policy: Value, #[case] restart: bool) {
        let of = |cpu: &str| {
            let pod = pod(&json!({"limits": {"cpu": cpu}}), &policy);
            pod.spec.expect("a spec").containers.remove(0)
        };
        assert_eq!(needs_restart(of("1").resources.as_ref(), &of("2")), restart);
        assert!(!needs_restart(of("1").resources.as_ref(), &of("1")));
    }
}
