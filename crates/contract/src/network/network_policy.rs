//! `NetworkPolicy` of networking.k8s.io/v1.

use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::compile::{blocks, matches};
use super::{Block, Direction, Pod, Ports, Rule, World};
use crate::crd::{RuleAction, TrafficProtocol};

/// Whether the policy isolates its pods in that direction. Without `policyTypes` it does so for incoming traffic, and
/// for outgoing traffic if it has rules for it.
pub(super) fn concerns(spec: &NetworkPolicySpec, direction: Direction) -> bool {
    let name = match direction {
        Direction::Ingress => "Ingress",
        Direction::Egress => "Egress",
    };
    match spec.policy_types.as_deref() {
        Some([_, ..]) => spec.policy_types.iter().flatten().any(|kind| kind == name),
        _ => direction == Direction::Ingress || spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
    }
}

/// What it lets through. A rule with a named port becomes one rule for each pod that has a port of that name.
pub(super) fn rules(
    spec: &NetworkPolicySpec,
    pod: &Pod,
    world: World<'_>,
    direction: Direction,
    policy: usize,
) -> Vec<Rule> {
    type Parts<'a> = (Option<&'a [NetworkPolicyPeer]>, Option<&'a [NetworkPolicyPort]>);
    let parts: Vec<Parts<'_>> = match direction {
        Direction::Ingress => {
            let rules = spec.ingress.iter().flatten();
            rules.map(|rule| (rule.from.as_deref(), rule.ports.as_deref())).collect()
        }
        Direction::Egress => {
            let rules = spec.egress.iter().flatten();
            rules.map(|rule| (rule.to.as_deref(), rule.ports.as_deref())).collect()
        }
    };
    let mut rules = Vec::new();
    for (peers, ports) in parts {
        // An empty list means the same as none.
        let peers = peers.filter(|peers| !peers.is_empty());
        let ports = ports.filter(|ports| !ports.is_empty());
        let chosen: Vec<&Pod> = world
            .peers(direction)
            .filter(|other| {
                peers.is_none_or(|peers| peers.iter().any(|peer| selects(peer, other, pod, world)))
            })
            .collect();
        let allow = |peers, ports| Rule { action: RuleAction::Allow, peers, ports, policy };
        let targets: Vec<&Pod> = match direction {
            Direction::Ingress => vec![pod],
            Direction::Egress => chosen.clone(),
        };
        if let (Direction::Egress, Some(ports)) = (direction, ports) {
            for target in targets {
                let named = named_ports(ports, target);
                if !named.is_empty() {
                    rules.push(allow(Some(blocks(std::iter::once(target))), Some(named)));
                }
            }
        }
        let numbers = ports.map(|ports| {
            let mut numbers: Vec<_> = ports.iter().filter_map(by_number).collect();
            if direction == Direction::Ingress {
                numbers.extend(named_ports(ports, pod));
            }
            numbers
        });
        let peers = peers.map(|peers| {
            let ranges = peers.iter().filter_map(|peer| peer.ip_block.as_ref()).filter_map(block);
            ranges.chain(blocks(chosen.iter().copied())).collect()
        });
        rules.push(allow(peers, numbers));
    }
    rules
}

/// Whether the peer means `other`, in a policy of `pod`'s namespace.
fn selects(peer: &NetworkPolicyPeer, other: &Pod, pod: &Pod, world: World<'_>) -> bool {
    let in_namespace = match &peer.namespace_selector {
        Some(selector) => {
            world.namespaces.get(&other.namespace).is_some_and(|labels| matches(selector, labels))
        }
        None => peer.pod_selector.is_some() && other.namespace == pod.namespace,
    };
    in_namespace && peer.pod_selector.as_ref().is_none_or(|selector| matches(selector, &other.labels))
}

fn block(block: &IPBlock) -> Option<Block> {
    let except = block.except.iter().flatten().filter_map(|hole| hole.parse().ok()).collect();
    Some(Block { range: block.cidr.parse().ok()?, except })
}

fn protocol(port: &NetworkPolicyPort) -> TrafficProtocol {
    match port.protocol.as_deref() {
        Some("UDP") => TrafficProtocol::Udp,
        Some("SCTP") => TrafficProtocol::Sctp,
        _ => TrafficProtocol::Tcp,
    }
}

fn by_number(port: &NetworkPolicyPort) -> Option<Ports> {
    let range = match &port.port {
        None => None,
        Some(IntOrString::Int(first)) => {
            let first = u16::try_from(*first).ok()?;
            let last = port.end_port.map_or(Ok(first), u16::try_from).ok()?;
            Some((first, last))
        }
        Some(IntOrString::String(_)) => return None,
    };
    Some(Ports { protocol: protocol(port), range })
}

fn named_ports(ports: &[NetworkPolicyPort], target: &Pod) -> Vec<Ports> {
    let mut found = Vec::new();
    for port in ports {
        let Some(IntOrString::String(name)) = &port.port else { continue };
        let protocol = protocol(port);
        let own = target.ports.iter().filter(|own| own.name == *name && own.protocol == protocol);
        found.extend(own.map(|own| Ports { protocol, range: Some((own.port, own.port)) }));
    }
    found
}
