//! Which pod has which address.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A subnet of IPv4 with room for at least one pod, besides the bridge and the node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Subnet {
    network: u32,
    prefix: u8,
}

/// A text that is no subnet.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a subnet such as 10.88.0.0/16 with a prefix of 8 to 29 bits")]
pub struct InvalidSubnet(String);

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Self, InvalidSubnet> {
        let invalid = || InvalidSubnet(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: Ipv4Addr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        if !(8..=29).contains(&prefix) {
            return Err(invalid());
        }
        Ok(Self::of(address, prefix))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", Ipv4Addr::from_bits(self.network), self.prefix)
    }
}

impl Subnet {
    /// The subnet that `address` is in; `prefix` is 8 to 29.
    pub(super) fn of(address: Ipv4Addr, prefix: u8) -> Self {
        Self { network: address.to_bits() & (u32::MAX << (32 - prefix)), prefix }
    }

    /// The first host address: the bridge's own.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network + 1)
    }

    /// The last host address: the node's own.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network + self.hosts())
    }

    /// Length of the network part in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// How many host addresses there are, the bridge's and the node's included.
    fn hosts(self) -> u32 {
        (1_u32 << (32 - self.prefix)) - 2
    }
}

/// Hands addresses out, the longest unused first, so that a new pod doesn't get the one of a pod that just ended.
#[derive(Debug)]
pub(super) struct Addresses {
    subnet: Subnet,
    /// Who has which; the bridge and the node have no name.
    taken: BTreeMap<Ipv4Addr, String>,
    last: u32,
    links: u64,
}

impl Addresses {
    /// All of `subnet` but the addresses in `own`.
    pub(super) fn new(subnet: Subnet, own: &[Ipv4Addr]) -> Self {
        let taken = own.iter().map(|address| (*address, String::new())).collect();
        Self { subnet, taken, last: 0, links: 0 }
    }

    /// A number for the link, never used before, and a free address for `owner`.
    pub(super) fn take(&mut self, owner: &str) -> Option<(u64, Ipv4Addr)> {
        let hosts = self.subnet.hosts();
        let (offset, address) = (1..=hosts)
            .map(|step| (self.last + step) % hosts)
            .map(|offset| (offset, Ipv4Addr::from_bits(self.subnet.network + 1 + offset)))
            .find(|(_, address)| !self.taken.contains_key(address))?;
        self.last = offset;
        self.taken.insert(address, owner.to_owned());
        self.links += 1;
        Some((self.links, address))
    }

    /// Frees whatever `owner` has.
    pub(super) fn release(&mut self, owner: &str) {
        self.taken.retain(|_, taken_by| taken_by.is_empty() || taken_by != owner);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.88.3.4/16", Some("10.88.0.0/16"))]
    #[case("10.88.0.0/29", Some("10.88.0.0/29"))]
    #[case("10.88.0.0/30", None)]
    #[case("10.88.0.0", None)]
    #[case("here/16", None)]
    fn subnets(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(text.parse::<Subnet>().ok().map(|subnet| subnet.to_string()).as_deref(), expected);
    }

    #[test]
    fn a_freed_address_is_the_last_to_be_used_again() {
        let subnet: Subnet = "10.1.0.0/29".parse().expect("a subnet");
        let mut addresses = Addresses::new(subnet, &[subnet.first(), subnet.last()]);
        let mut last_byte = |owner| addresses.take(owner).map(|(_, address)| address.octets()[3]);
        assert_eq!((last_byte("a"), last_byte("b")), (Some(2), Some(3)));
        addresses.release("a");
        addresses.release(""); // the bridge's and the node's own are never free
        let rest: Vec<_> =
            std::iter::from_fn(|| addresses.take("c")).map(|(_, address)| address.octets()[3]).collect();
        assert_eq!(rest, [4, 5, 2]);
    }
}
