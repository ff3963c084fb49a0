//! The rules of a pod as chains of its packet filter.
//!
//! ```text
//! egress   (hook: output)  ── loopback, answers ─► accept
//!                          ── rules of traffic policies, in order ─► egress-required or egress-denied
//!                          ── otherwise ─► egress-required, or egress-denied for a closed list
//! egress-required          ── rules of network policies ─► accept;  otherwise ─► egress-denied
//! egress-denied            ── refuse, or drop
//! ```
//!
//! Every packet is asked about, not only the first of a connection: a policy made later ends what it forbids. A packet
//! is an answer if the other side opened its connection.

use std::net::IpAddr;

use contract::crd::{RuleAction, TrafficProtocol};
use contract::network::{Block, PodRules, Ports, Rule, Rules};
use ipnet::IpNet;

/// A list of rules; the first whose every condition matches decides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Chain {
    pub(super) name: String,
    pub(super) hook: Option<Hook>,
    pub(super) rules: Vec<(Vec<Match>, Verdict)>,
}

/// Where packets come into a chain by themselves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hook {
    /// Packets for this namespace.
    Input,
    /// Packets from this namespace.
    Output,
}

/// One condition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Match {
    /// From or to the loopback interface.
    Loopback(Side),
    /// Part of a connection that the other side opened.
    Answer,
    /// An ICMP error about a connection that is there.
    Related,
    /// How neighbours find each other in IPv6.
    Neighbours,
    /// An address.
    Address(Side, IpNet),
    /// Number of the protocol above IP.
    Protocol(u8),
    /// The port connected to, first and last.
    Port(u16, u16),
    /// A TCP segment that opens no connection.
    UnderWay,
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// What happens to a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    /// Back to the chain that jumped here.
    Return,
    /// Another chain, and back.
    Jump(String),
    /// Another chain, for good.
    Goto(String),
    /// Ends a TCP connection.
    Reset,
    /// Answers that the network's administrator forbids it.
    Prohibit,
}

impl Chain {
    /// A chain that no packet comes to.
    pub(super) fn unused(name: &str, rules: Vec<(Vec<Match>, Verdict)>) -> Self {
        Self { name: name.to_owned(), hook: None, rules }
    }
}

/// The chains for `rules`; none if there is nothing to enforce. The node itself may always connect: its probes are no
/// policy's business.
pub(super) fn chains(rules: &PodRules, node: IpAddr) -> Vec<Chain> {
    let mut all = Vec::new();
    if !rules.ingress.is_open() {
        let own = (vec![Match::Address(Side::Source, node.into())], Verdict::Accept);
        direction(&mut all, &rules.ingress, "ingress", (Hook::Input, Side::Source), Some(own));
    }
    if !rules.egress.is_open() {
        direction(&mut all, &rules.egress, "egress", (Hook::Output, Side::Destination), None);
    }
    all
}

fn direction(
    all: &mut Vec<Chain>,
    rules: &Rules,
    name: &str,
    (hook, side): (Hook, Side),
    first: Option<(Vec<Match>, Verdict)>,
) {
    let denied = format!("{name}-denied");
    let required = format!("{name}-required");
    let refuse = || Verdict::Goto(denied.clone());
    let passed = || match rules.required {
        Some(_) => Verdict::Goto(required.clone()),
        None => Verdict::Accept,
    };
    let mut main = Chain { name: name.to_owned(), hook: Some(hook), rules: Vec::new() };
    for condition in [Match::Loopback(side), Match::Answer, Match::Related, Match::Neighbours] {
        main.rules.push((vec![condition], Verdict::Accept));
    }
    main.rules.extend(first);
    let mut branches = Branches { side, name, chains: Vec::new() };
    for rule in &rules.ordered {
        let verdict = if rule.action == RuleAction::Allow { passed() } else { refuse() };
        branches.add(&mut main, rule, &verdict);
    }
    main.rules.push((Vec::new(), if rules.closed { refuse() } else { passed() }));
    let mut last = Chain { name: required.clone(), hook: None, rules: Vec::new() };
    for rule in rules.required.iter().flatten() {
        branches.add(&mut last, rule, &Verdict::Accept);
    }
    last.rules.push((Vec::new(), refuse()));
    all.push(Chain { name: denied.clone(), hook: None, rules: denial(rules.silent) });
    all.extend(branches.chains);
    all.push(last);
    all.push(main);
}

/// An attempt to connect is answered so that it fails with "no route to host"; a connection that is there would not
/// take that for more than a hint, and is reset.
fn denial(silent: bool) -> Vec<(Vec<Match>, Verdict)> {
    if silent {
        return vec![(Vec::new(), Verdict::Drop)];
    }
    vec![(vec![Match::UnderWay], Verdict::Reset), (Vec::new(), Verdict::Prohibit)]
}

/// Chains that rules with more than one condition branch into.
struct Branches<'a> {
    side: Side,
    name: &'a str,
    chains: Vec<Chain>,
}

impl Branches<'_> {
    /// Adds rules to `chain` that come to `verdict` where `rule` matches.
    fn add(&mut self, chain: &mut Chain, rule: &Rule, verdict: &Verdict) {
        let by_port = |ports: &[Ports]| -> Vec<_> {
            let all = ports.iter().copied().flat_map(ports_match);
            all.map(|conditions| (conditions, verdict.clone())).collect()
        };
        match (&rule.peers, &rule.ports) {
            (None, None) => chain.rules.push((Vec::new(), verdict.clone())),
            (None, Some(ports)) => chain.rules.extend(by_port(ports)),
            (Some(peers), None) => self.peers(chain, peers, verdict),
            (Some(peers), Some(ports)) => {
                let name = self.branch(by_port(ports));
                self.peers(chain, peers, &Verdict::Jump(name));
            }
        }
    }

    fn peers(&mut self, chain: &mut Chain, peers: &[Block], verdict: &Verdict) {
        for peer in peers {
            let inside = vec![Match::Address(self.side, peer.range)];
            if peer.except.is_empty() {
                chain.rules.push((inside, verdict.clone()));
                continue;
            }
            let holes =
                peer.except.iter().map(|hole| (vec![Match::Address(self.side, *hole)], Verdict::Return));
            let rules = holes.chain([(Vec::new(), verdict.clone())]).collect();
            let name = self.branch(rules);
            chain.rules.push((inside, Verdict::Jump(name)));
        }
    }

    fn branch(&mut self, rules: Vec<(Vec<Match>, Verdict)>) -> String {
        let name = format!("{}-{}", self.name, self.chains.len() + 1);
        self.chains.push(Chain { name: name.clone(), hook: None, rules });
        name
    }
}

/// Each list of conditions stands for itself.
fn ports_match(ports: Ports) -> Vec<Vec<Match>> {
    let of = |number| {
        let mut conditions = vec![Match::Protocol(number)];
        conditions.extend(ports.range.map(|(first, last)| Match::Port(first, last)));
        conditions
    };
    match ports.protocol {
        TrafficProtocol::Tcp => vec![of(6)],
        TrafficProtocol::Udp => vec![of(17)],
        TrafficProtocol::Sctp => vec![of(132)],
        TrafficProtocol::Icmp => vec![vec![Match::Protocol(1)], vec![Match::Protocol(58)]],
    }
}
