//! Whether this machine's packet filter can do what network policies need.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

use super::NetworkError;
use super::chains::{Chain, Hook, Match, Side, Verdict};
use super::nftables::Filter;

/// How far the packet filter could be tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PacketFilter {
    /// It has taken rules of every kind.
    TakesRules,
    /// It can be talked to. More can't be tried: an ordinary user's process has no network namespace of its own.
    Answers,
}

/// Tries the packet filter, in a network namespace that goes again at once.
///
/// # Errors
/// What the kernel refused.
pub fn try_packet_filter() -> Result<PacketFilter, NetworkError> {
    if !geteuid().is_root() {
        return Filter::open().map(|_| PacketFilter::Answers);
    }
    let failed = |action| move |source: io::Error| NetworkError::Namespace { action, source };
    // The namespace is the thread's own and ends with it.
    let trying = std::thread::Builder::new()
        .name("packet-filter".into())
        .spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(io::Error::from)
                .map_err(failed("making a network namespace"))?;
            let filter = Filter::open()?;
            filter.follow_connections()?;
            filter.replace("mountlab-trial", &every_kind())
        })
        .map_err(failed("starting a thread"))?;
    let gone = |_| failed("trying the packet filter")(io::Error::other("its thread is gone"));
    trying.join().map_err(gone)??;
    Ok(PacketFilter::TakesRules)
}

/// Rules with every condition and every verdict that policies are made of.
fn every_kind() -> Vec<Chain> {
    let address = |address: IpAddr| Match::Address(Side::Destination, IpNet::from(address));
    let refused = "refused".to_owned();
    let rules = vec![
        (vec![Match::Loopback(Side::Destination)], Verdict::Accept),
        (vec![Match::Answer], Verdict::Accept),
        (vec![Match::Related], Verdict::Accept),
        (vec![Match::Neighbours], Verdict::Accept),
        (vec![address(Ipv4Addr::LOCALHOST.into()), Match::Protocol(6), Match::Port(1, 2)], Verdict::Return),
        (vec![address(Ipv6Addr::LOCALHOST.into())], Verdict::Jump(refused.clone())),
        (Vec::new(), Verdict::Goto(refused.clone())),
    ];
    let ends = vec![
        (vec![Match::UnderWay], Verdict::Reset),
        (Vec::new(), Verdict::Prohibit),
        (Vec::new(), Verdict::Drop),
    ];
    vec![
        Chain { name: "trial".to_owned(), hook: Some(Hook::Output), rules },
        Chain { name: refused, hook: None, rules: ends },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_runs_these_tests_enforces_network_policies() {
        assert_eq!(try_packet_filter().expect("tried"), PacketFilter::TakesRules);
        let tables = std::fs::read_to_string("/proc/net/dev").expect("the interfaces of this namespace");
        assert!(tables.lines().count() > 2, "the test is still in the namespace it began in: {tables}");
    }
}
