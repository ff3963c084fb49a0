//! From policies to rules.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};

use super::{Block, Direction, Pod, PodRules, Policies, Rules, World, network_policy, traffic_policy};
use crate::crd::RuleAction;
use crate::names::annotations::{DENIED_TRAFFIC, DROP};

/// The rules for `pod`.
pub fn compile(policies: Policies<'_>, pod: &Pod, world: World<'_>) -> PodRules {
    PodRules {
        ingress: direction(policies, pod, world, Direction::Ingress),
        egress: direction(policies, pod, world, Direction::Egress),
    }
}

fn direction(policies: Policies<'_>, pod: &Pod, world: World<'_>, direction: Direction) -> Rules {
    let mut rules = Rules::default();
    let mut traffic: Vec<_> = policies
        .traffic
        .iter()
        .filter(|policy| policy.namespace().as_deref() == Some(pod.namespace.as_str()))
        .filter(|policy| selects(&policy.spec.selector, pod))
        .collect();
    traffic.sort_by_key(|policy| (traffic_policy::priority(policy), policy.name_any()));
    for policy in traffic {
        let Some(found) = traffic_policy::rules(policy, pod, world, direction, rules.policies.len()) else {
            continue;
        };
        rules.policies.push(format!("TrafficPolicy {}/{}", pod.namespace, policy.name_any()));
        rules.silent |= is_silent(policy.as_ref());
        rules.ordered.extend(found);
    }
    rules.closed = rules.ordered.iter().any(|rule| rule.action == RuleAction::Allow);
    let mut network: Vec<_> = policies
        .network
        .iter()
        .filter(|policy| policy.namespace().as_deref() == Some(pod.namespace.as_str()))
        .collect();
    network.sort_by_key(|policy| policy.name_any());
    for policy in network {
        let Some(spec) = policy.spec.as_ref().filter(|spec| network_policy::concerns(spec, direction)) else {
            continue;
        };
        if !spec.pod_selector.as_ref().is_none_or(|selector| selects(selector, pod)) {
            continue;
        }
        let index = rules.policies.len();
        rules.policies.push(format!("NetworkPolicy {}/{}", pod.namespace, policy.name_any()));
        rules.silent |= is_silent(policy.as_ref());
        let found = network_policy::rules(spec, pod, world, direction, index);
        rules.required.get_or_insert_default().extend(found);
    }
    rules
}

fn is_silent(policy: &impl kube::Resource<DynamicType = ()>) -> bool {
    let notes = policy.meta().annotations.as_ref();
    notes.and_then(|notes| notes.get(DENIED_TRAFFIC)).is_some_and(|value| value == DROP)
}

fn selects(selector: &LabelSelector, pod: &Pod) -> bool {
    matches(selector, &pod.labels)
}

/// Whether the labels match; a selector that can't be understood matches nothing.
pub(super) fn matches(selector: &LabelSelector, labels: &std::collections::BTreeMap<String, String>) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

/// Every address of the pods.
pub(super) fn blocks<'a>(pods: impl Iterator<Item = &'a Pod>) -> Vec<Block> {
    pods.flat_map(|pod| pod.addresses.iter().copied().map(Block::single)).collect()
}
