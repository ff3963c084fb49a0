//! What a pod may send and be sent: network policies of Kubernetes and traffic policies of this API group, brought down
//! to plain rules about addresses and ports (`storage.md` §8, `kubernetes.md` §1.7).
//!
//! ```text
//! NetworkPolicy ─┐                                        ┌─► node: rules of the pod's network namespace
//! TrafficPolicy ─┼─► compile(policies, pod, World) ──► PodRules
//! pods, labels ──┘                                        └─► manager: which policy forbids this endpoint?
//! ```
//!
//! A packet has to pass both kinds of policies, in this order:
//! 1. The rules of every `TrafficPolicy` that selects the pod, lowest `priority` number first; the first rule that
//!    matches decides. Without a match the packet passes, unless there is an `allow` rule in that direction: a list of
//!    what is allowed forbids the rest, a list of what is rejected doesn't.
//! 2. If any `NetworkPolicy` selects the pod for that direction, one of their rules has to match.
//!
//! Answers to what was let through are never in question: they belong to a connection of the other direction.

mod compile;
mod endpoint;
mod forbidden;
mod network_policy;
mod traffic_policy;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicy;

pub use compile::compile;
pub use endpoint::{StorageEndpoint, storage_endpoint};
pub use forbidden::Forbidden;

use crate::crd::{RuleAction, TrafficPolicy, TrafficProtocol};

/// Every policy that may concern a pod; those of other namespaces are left out of account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies<'a> {
    /// Kubernetes' own.
    pub network: &'a [Arc<NetworkPolicy>],
    /// Those of this API group.
    pub traffic: &'a [Arc<TrafficPolicy>],
}

/// A pod, as policies see it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses; none before it has a network.
    pub addresses: Vec<IpAddr>,
    /// Ports of its containers that have a name.
    pub ports: Vec<NamedPort>,
}

/// A container's port with a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedPort {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: TrafficProtocol,
    /// Its number.
    pub port: u16,
}

/// What selectors and names of a policy refer to.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Every pod whose address may be meant.
    pub pods: &'a [Pod],
    /// What connects to pods and is not connected to, such as the manager: meant by selectors for incoming traffic only.
    pub callers: &'a [Pod],
    /// Labels of every namespace.
    pub namespaces: &'a BTreeMap<String, BTreeMap<String, String>>,
    /// Selectors of Services by namespace and name.
    pub services: &'a BTreeMap<(String, String), BTreeMap<String, String>>,
    /// The addresses that a domain name has.
    pub resolve: &'a dyn Fn(&str) -> Vec<IpAddr>,
}

/// Which way a packet goes, seen from the pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// To the pod.
    Ingress,
    /// From the pod.
    Egress,
}

/// Everything that rules a pod's traffic.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PodRules {
    /// What it may be sent.
    pub ingress: Rules,
    /// What it may send.
    pub egress: Rules,
}

/// The rules of one direction; the default lets everything through.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    /// Rules of traffic policies; the first that matches decides.
    pub ordered: Vec<Rule>,
    /// Whether what no ordered rule matches is refused.
    pub closed: bool,
    /// Rules of network policies, one of which has to match; `None` when no network policy selects the pod.
    pub required: Option<Vec<Rule>>,
    /// Names of the policies behind all this, such as `NetworkPolicy default/deny-all`.
    pub policies: Vec<String>,
    /// Whether what is refused is dropped instead of answered; see [`DENIED_TRAFFIC`](crate::names::annotations::DENIED_TRAFFIC).
    pub silent: bool,
}

/// One rule: both lists have to match; `None` matches everything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// What happens to a packet that matches.
    pub action: RuleAction,
    /// The other side's address.
    pub peers: Option<Vec<Block>>,
    /// Protocol and port of whoever is connected to.
    pub ports: Option<Vec<Ports>>,
    /// The policy it comes from, an index of [`Rules::policies`].
    pub policy: usize,
}

/// A range of addresses with holes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Block {
    /// The range.
    pub range: IpNet,
    /// Ranges inside it that don't count.
    pub except: Vec<IpNet>,
}

/// Ports of a protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ports {
    /// The protocol.
    pub protocol: TrafficProtocol,
    /// First and last port; `None` for all.
    pub range: Option<(u16, u16)>,
}

impl PodRules {
    /// Whether nothing is ruled, so that nothing has to be enforced.
    pub fn is_open(&self) -> bool {
        self.ingress.is_open() && self.egress.is_open()
    }
}

impl Rules {
    /// Whether everything passes.
    pub fn is_open(&self) -> bool {
        let rejects = self.ordered.iter().any(|rule| rule.action == RuleAction::Reject);
        !rejects && !self.closed && self.required.is_none()
    }
}

impl Block {
    /// One address.
    pub fn single(address: IpAddr) -> Self {
        Self { range: address.into(), except: Vec::new() }
    }

    /// Whether the address is in the range and in none of its holes.
    pub fn contains(&self, address: &IpAddr) -> bool {
        self.range.contains(address) && !self.except.iter().any(|hole| hole.contains(address))
    }
}

impl Ports {
    /// Whether the port is among these.
    pub fn contains(&self, protocol: TrafficProtocol, port: u16) -> bool {
        self.protocol == protocol && self.range.is_none_or(|(first, last)| (first..=last).contains(&port))
    }
}

impl Rule {
    fn matches(&self, address: &IpAddr, protocol: TrafficProtocol, port: u16) -> bool {
        self.peers.as_ref().is_none_or(|peers| peers.iter().any(|peer| peer.contains(address)))
            && self.ports.as_ref().is_none_or(|ports| ports.iter().any(|own| own.contains(protocol, port)))
    }
}

impl<'a> World<'a> {
    /// The pods that a policy for that direction may mean.
    fn peers(&self, direction: Direction) -> impl Iterator<Item = &'a Pod> + use<'a> {
        let callers = match direction {
            Direction::Ingress => self.callers,
            Direction::Egress => &[],
        };
        self.pods.iter().chain(callers)
    }
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("World")
            .field("pods", &self.pods)
            .field("namespaces", &self.namespaces)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
