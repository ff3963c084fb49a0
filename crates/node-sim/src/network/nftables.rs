//! Changing the packet filter of a network namespace, over netlink: chains of rules in a table of their own, replaced in
//! one transaction.
//!
//! The kernel carries a transaction out, all of it or nothing, before the call that sends it returns; what went wrong
//! is then already there to be read.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use ipnet::IpNet;
use netlink_bindings::nftables::{
    Chained, CmpOps, CtKeys, MetaKeys, Nfgenmsg, PayloadBase, PushExprListAttrs, RangeOps, Registers,
    RejectInetCode, RejectTypes, VerdictCode,
};
use netlink_bindings::traits::{NetlinkChained as _, Pusher};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};

use super::NetworkError;
use super::chains::{Chain, Hook, Match, Side, Verdict};

/// Family of tables that see IPv4 and IPv6 alike.
const INET: u8 = 1;
/// What the batch messages are for.
const SUBSYSTEM: u16 = 10;
/// A register that holds up to 16 bytes.
const REGISTER: u32 = Registers::Reg1 as u32;
/// Interface index of the loopback in every network namespace.
const LOOPBACK: u32 = 1;
/// Bit of a packet that belongs to a connection without being part of it, such as an ICMP error.
const RELATED: u32 = 4;
const ANSWER: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const ICMP_V6: u8 = 58;
const TCP: u8 = 6;
/// Types of `ICMPv6` messages by which neighbours find each other.
const NEIGHBOURS: (u8, u8) = (133, 137);
/// Flag of a TCP segment that opens a connection.
const SYN: u8 = 2;

/// A netlink socket into the packet filter of one network namespace.
#[derive(Debug)]
pub(crate) struct Filter {
    socket: OwnedFd,
}

impl Filter {
    /// One for the calling thread's network namespace.
    pub(super) fn open() -> Result<Self, NetworkError> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )
        .map_err(failed("opening a socket to the packet filter"))?;
        Ok(Self { socket })
    }

    /// Makes the kernel follow connections, so that it knows who opened those that are there when the first rule comes.
    pub(super) fn follow_connections(&self) -> Result<(), NetworkError> {
        let chain = Chain::unused("connections", vec![(vec![Match::Related], Verdict::Accept)]);
        self.replace("mountlab-connections", &[chain])
    }

    /// Replaces everything in the table by `chains`; without any the table goes. The new rules hold when this
    /// returns, also for connections that are there.
    pub(super) fn replace(&self, table: &str, chains: &[Chain]) -> Result<(), NetworkError> {
        let action = "changing the packet filter";
        let name = CString::new(table)
            .map_err(|error| NetworkError::Namespace { action, source: io::Error::other(error) })?;
        let mut batch = Chained::new(1);
        let mut header = Nfgenmsg::new();
        header.set_res_id(SUBSYSTEM);
        batch.request().op_batch_begin_do(&header);
        let mut inet = Nfgenmsg::new();
        inet.nfgen_family = INET;
        // Made first, so that there is one to be deleted.
        batch.request().set_create().op_newtable_do(&inet).encode().push_name(&name);
        batch.request().op_deltable_do(&inet).encode().push_name(&name);
        if !chains.is_empty() {
            batch.request().set_create().op_newtable_do(&inet).encode().push_name(&name);
        }
        for chain in chains {
            add_chain(&mut batch, &inet, &name, chain);
        }
        for chain in chains {
            for (matches, verdict) in &chain.rules {
                add_rule(&mut batch, &inet, &name, chain, matches, verdict);
            }
        }
        batch.request().op_batch_end_do(&header);
        let mut bytes = batch.finalize().payload().to_vec();
        without_acknowledgements(&mut bytes);
        self.exchange(&bytes).map_err(failed(action))
    }

    fn exchange(&self, bytes: &[u8]) -> Result<(), Errno> {
        let room = setsockopt(&self.socket, sockopt::SndBufForce, &(2 * bytes.len() + 4096));
        // Without that privilege the usual room has to do, as it does for all but a great many rules.
        if let Err(error) = room
            && error != Errno::EPERM
        {
            return Err(error);
        }
        let socket = self.socket.as_raw_fd();
        sendto(socket, bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answers = vec![0; 64 * 1024];
        loop {
            match recv(socket, &mut answers, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => first_error(answers.get(..length).unwrap_or_default())?,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn failed(action: &'static str) -> impl FnOnce(Errno) -> NetworkError {
    move |error| NetworkError::Namespace { action, source: error.into() }
}

/// Offsets of the messages in a buffer.
fn messages(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(length) = bytes.get(at..at + 4).and_then(|length| length.try_into().ok()) {
        let length = u32::from_ne_bytes(length) as usize;
        if length < 16 {
            break;
        }
        found.push(at);
        at += length.next_multiple_of(4);
    }
    found
}

/// Only failures shall be told: acknowledgements of many messages would not fit into the socket.
fn without_acknowledgements(bytes: &mut [u8]) {
    const ACKNOWLEDGE: u8 = 4;
    for message in messages(bytes) {
        if let Some(flags) = bytes.get_mut(message + 6) {
            *flags &= !ACKNOWLEDGE;
        }
    }
}

/// The first failure among the kernel's answers.
fn first_error(bytes: &[u8]) -> Result<(), Errno> {
    const ERROR: [u8; 2] = 2_u16.to_ne_bytes();
    for message in messages(bytes) {
        let kind = bytes.get(message + 4..message + 6);
        let code = bytes.get(message + 16..message + 20).and_then(|code| code.try_into().ok());
        if let (Some(kind), Some(code)) = (kind, code)
            && kind == ERROR
            && i32::from_ne_bytes(code) != 0
        {
            return Err(Errno::from_raw(-i32::from_ne_bytes(code)));
        }
    }
    Ok(())
}

fn add_chain(batch: &mut Chained<'_>, inet: &Nfgenmsg, table: &CString, chain: &Chain) {
    let mut request = batch.request().set_create().op_newchain_do(inet);
    let attributes = request.encode().push_table(table).push_name_bytes(chain.name.as_bytes());
    if let Some(hook) = chain.hook {
        let number = match hook {
            Hook::Input => 1,
            Hook::Output => 3,
        };
        attributes
            .nested_hook()
            .push_num(number)
            .push_priority(0)
            .end_nested()
            .push_policy(VerdictCode::Accept as u32)
            .push_type(c"filter");
    }
}

fn add_rule(
    batch: &mut Chained<'_>,
    inet: &Nfgenmsg,
    table: &CString,
    chain: &Chain,
    matches: &[Match],
    verdict: &Verdict,
) {
    let mut request = batch.request().set_create().set_append().op_newrule_do(inet);
    let attributes = request.encode().push_table(table).push_chain_bytes(chain.name.as_bytes());
    let mut expressions = attributes.nested_expressions();
    for condition in matches {
        expressions = push_match(expressions, *condition);
    }
    push_verdict(expressions, verdict);
}

fn push_match<P: Pusher>(list: PushExprListAttrs<P>, condition: Match) -> PushExprListAttrs<P> {
    match condition {
        Match::Loopback(Side::Source) => {
            let list = meta(list, MetaKeys::Iif);
            equals(list, &LOOPBACK.to_ne_bytes())
        }
        Match::Loopback(Side::Destination) => {
            let list = meta(list, MetaKeys::Oif);
            equals(list, &LOOPBACK.to_ne_bytes())
        }
        Match::Answer => {
            let list = connection(list, CtKeys::Direction);
            equals(list, &[ANSWER])
        }
        Match::Related => {
            let list = connection(list, CtKeys::State);
            let list = and(list, &RELATED.to_ne_bytes());
            compare(list, CmpOps::Neq, &[0; 4])
        }
        Match::Neighbours => {
            let list = equals(meta(list, MetaKeys::Nfproto), &[IPV6]);
            let list = equals(meta(list, MetaKeys::L4Proto), &[ICMP_V6]);
            let list = payload(list, PayloadBase::TransportHeader, 0, 1);
            range(list, &[NEIGHBOURS.0], &[NEIGHBOURS.1])
        }
        Match::Address(side, net) => address(list, side, net),
        Match::Protocol(number) => equals(meta(list, MetaKeys::L4Proto), &[number]),
        Match::Port(first, last) => {
            let list = payload(list, PayloadBase::TransportHeader, 2, 2);
            range(list, &first.to_be_bytes(), &last.to_be_bytes())
        }
        Match::UnderWay => {
            let list = equals(meta(list, MetaKeys::L4Proto), &[TCP]);
            let list = payload(list, PayloadBase::TransportHeader, 13, 1);
            equals(and(list, &[SYN]), &[0])
        }
    }
}

fn push_verdict<P: Pusher>(list: PushExprListAttrs<P>, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (VerdictCode::Accept, None),
        Verdict::Drop => (VerdictCode::Drop, None),
        Verdict::Return => (VerdictCode::Return, None),
        Verdict::Jump(chain) => (VerdictCode::Jump, Some(chain)),
        Verdict::Goto(chain) => (VerdictCode::Goto, Some(chain)),
        Verdict::Reset => {
            list.nested_elem().nested_data_reject().push_type(RejectTypes::TcpRst as u32);
            return;
        }
        Verdict::Prohibit => {
            list.nested_elem()
                .nested_data_reject()
                .push_type(RejectTypes::IcmpxUnreach as u32)
                .push_icmp_code(RejectInetCode::IcmpxAdminProhibited as u8);
            return;
        }
    };
    let verdict = list
        .nested_elem()
        .nested_data_immediate()
        .push_dreg(Registers::RegVerdict as u32)
        .nested_data()
        .nested_verdict()
        .push_code(code as u32);
    if let Some(chain) = chain {
        verdict.push_chain_bytes(chain.as_bytes());
    }
}

fn meta<P: Pusher>(list: PushExprListAttrs<P>, key: MetaKeys) -> PushExprListAttrs<P> {
    let data = list.nested_elem().nested_data_meta();
    data.push_dreg(REGISTER).push_key(key as u32).end_nested().end_nested()
}

fn connection<P: Pusher>(list: PushExprListAttrs<P>, key: CtKeys) -> PushExprListAttrs<P> {
    let data = list.nested_elem().nested_data_ct();
    data.push_dreg(REGISTER).push_key(key as u32).end_nested().end_nested()
}

fn payload<P: Pusher>(
    list: PushExprListAttrs<P>,
    base: PayloadBase,
    offset: u32,
    length: u32,
) -> PushExprListAttrs<P> {
    let data = list.nested_elem().nested_data_payload().push_dreg(REGISTER).push_base(base as u32);
    data.push_offset(offset).push_len(length).end_nested().end_nested()
}

fn equals<P: Pusher>(list: PushExprListAttrs<P>, value: &[u8]) -> PushExprListAttrs<P> {
    compare(list, CmpOps::Eq, value)
}

fn compare<P: Pusher>(list: PushExprListAttrs<P>, op: CmpOps, value: &[u8]) -> PushExprListAttrs<P> {
    let data = list.nested_elem().nested_data_cmp().push_sreg(REGISTER).push_op(op as u32);
    data.nested_data().push_value(value).end_nested().end_nested().end_nested()
}

fn range<P: Pusher>(list: PushExprListAttrs<P>, first: &[u8], last: &[u8]) -> PushExprListAttrs<P> {
    let data = list.nested_elem().nested_data_range().push_sreg(REGISTER).push_op(RangeOps::Eq as u32);
    let data = data.nested_from_data().push_value(first).end_nested();
    data.nested_to_data().push_value(last).end_nested().end_nested().end_nested()
}

/// Keeps the bits of `mask` only.
fn and<P: Pusher>(list: PushExprListAttrs<P>, mask: &[u8]) -> PushExprListAttrs<P> {
    let length = u32::try_from(mask.len()).unwrap_or(0);
    let data = list.nested_elem().nested_data_bitwise().push_sreg(REGISTER).push_dreg(REGISTER);
    let data = data.push_len(length).nested_mask().push_value(mask).end_nested();
    data.nested_xor().push_value(&vec![0; mask.len()]).end_nested().end_nested().end_nested()
}

fn address<P: Pusher>(list: PushExprListAttrs<P>, side: Side, net: IpNet) -> PushExprListAttrs<P> {
    let net = net.trunc();
    let (family, offset, value, mask) = match net {
        IpNet::V4(net) => {
            let offset = if side == Side::Source { 12 } else { 16 };
            (IPV4, offset, net.addr().octets().to_vec(), net.netmask().octets().to_vec())
        }
        IpNet::V6(net) => {
            let offset = if side == Side::Source { 8 } else { 24 };
            (IPV6, offset, net.addr().octets().to_vec(), net.netmask().octets().to_vec())
        }
    };
    let list = equals(meta(list, MetaKeys::Nfproto), &[family]);
    let length = u32::try_from(value.len()).unwrap_or(0);
    let list = payload(list, PayloadBase::NetworkHeader, offset, length);
    equals(and(list, &mask), &value)
}
