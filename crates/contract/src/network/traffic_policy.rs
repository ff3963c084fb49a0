//! `TrafficPolicy` of agents.kruise.io/v1alpha1.

use super::compile::blocks;
use super::{Block, Direction, Pod, Ports, Rule, World};
use crate::crd::{
    ServiceReference, TrafficPeer, TrafficPolicy, TrafficPort, TrafficProtocol, WorkloadReference,
};

/// The priority of a policy that names none.
const DEFAULT_PRIORITY: i32 = 1000;

/// Its place among others: lower comes first.
pub(super) fn priority(policy: &TrafficPolicy) -> i32 {
    policy.spec.priority.unwrap_or(DEFAULT_PRIORITY)
}

/// Its rules in their order; `None` if it says nothing about that direction.
pub(super) fn rules(
    policy: &TrafficPolicy,
    pod: &Pod,
    world: World<'_>,
    direction: Direction,
    index: usize,
) -> Option<Vec<Rule>> {
    let side = match direction {
        Direction::Ingress => policy.spec.ingress.as_ref()?,
        Direction::Egress => policy.spec.egress.as_ref()?,
    };
    let rules = side.rules.iter().flatten().map(|rule| {
        let peers = match direction {
            Direction::Ingress => rule.from.as_deref(),
            Direction::Egress => rule.to.as_deref(),
        };
        let peers = peers.filter(|peers| !peers.is_empty());
        let ports = rule.ports.as_deref().filter(|ports| !ports.is_empty());
        Rule {
            action: rule.action,
            peers: peers
                .map(|peers| peers.iter().flat_map(|peer| addresses(peer, pod, world, direction)).collect()),
            ports: ports.map(|ports| ports.iter().filter_map(numbers).collect()),
            policy: index,
        }
    });
    Some(rules.collect())
}

fn addresses(peer: &TrafficPeer, pod: &Pod, world: World<'_>, direction: Direction) -> Vec<Block> {
    if let Some(range) = &peer.cidr {
        return range.parse().map(|range| Block { range, except: Vec::new() }).into_iter().collect();
    }
    if let Some(name) = &peer.fqdn {
        return (world.resolve)(&name.to_ascii_lowercase()).into_iter().map(Block::single).collect();
    }
    if let Some(ServiceReference { name, namespace }) = &peer.service {
        let namespace = namespace.clone().unwrap_or_else(|| pod.namespace.clone());
        let selector = world.services.get(&(namespace.clone(), name.clone()));
        return selector.map(|selector| of_pods(world, direction, &namespace, selector)).unwrap_or_default();
    }
    match &peer.workload {
        Some(WorkloadReference { namespace, selector }) => of_pods(world, direction, namespace, selector),
        None => Vec::new(),
    }
}

/// Addresses of the pods that have all those labels; none means no pod.
fn of_pods(
    world: World<'_>,
    direction: Direction,
    namespace: &str,
    selector: &std::collections::BTreeMap<String, String>,
) -> Vec<Block> {
    let has = |pod: &&Pod| {
        !selector.is_empty()
            && pod.namespace == namespace
            && selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    };
    blocks(world.peers(direction).filter(has))
}

/// A port without a protocol is one of TCP.
fn numbers(port: &TrafficPort) -> Option<Ports> {
    let number = |port: i32| u16::try_from(port).ok();
    let range = match port.port {
        None => None,
        Some(first) => Some((number(first)?, number(port.end_port.unwrap_or(first))?)),
    };
    Some(Ports { protocol: port.protocol.unwrap_or(TrafficProtocol::Tcp), range })
}
