//! Remote procedure calls as RFC 5531 has them: reading a call's head, writing an answer's.

use nfs3_types::xdr_codec::Pack;

use crate::credentials::Credentials;

/// The largest call that is read: the largest WRITE and what is around it.
pub(crate) const LARGEST_CALL: usize = 2 * 1024 * 1024;

/// The longest body of credentials that the protocol allows.
const LONGEST_CREDENTIALS: usize = 400;

const CALL: u32 = 0;
const REPLY: u32 = 1;
const VERSION: u32 = 2;
const AUTH_NONE: u32 = 0;
const AUTH_UNIX: u32 = 1;

/// The head of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: u32,
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) procedure: u32,
    pub(crate) credentials: Credentials,
}

/// Why a call is not carried out, as the protocol says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// The version of RPC itself.
    RpcVersion,
    /// Credentials that can't be read or are of an unknown kind.
    Credentials,
    /// Nobody here answers for the program.
    Program,
    /// Its version is another one.
    ProgramVersion(u32),
    /// It has no such procedure.
    Procedure,
    /// The arguments can't be read.
    Arguments,
}

/// What came instead of a call.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum NotACall {
    /// Nothing that could be answered.
    Garbage,
    /// A call that gets this refusal.
    Refused(u32, Refusal),
}

/// Reads the head of a call; the rest are the procedure's arguments.
pub(crate) fn read_call(mut bytes: &[u8]) -> Result<(Call, &[u8]), NotACall> {
    let (id, kind) = two(&mut bytes).ok_or(NotACall::Garbage)?;
    if kind != CALL {
        return Err(NotACall::Garbage);
    }
    let version = number(&mut bytes).ok_or(NotACall::Garbage)?;
    if version != VERSION {
        return Err(NotACall::Refused(id, Refusal::RpcVersion));
    }
    let (program, version) = two(&mut bytes).ok_or(NotACall::Garbage)?;
    let procedure = number(&mut bytes).ok_or(NotACall::Garbage)?;
    let (flavour, body) = opaque(&mut bytes).ok_or(NotACall::Garbage)?;
    opaque(&mut bytes).ok_or(NotACall::Garbage)?;
    let credentials = match flavour {
        AUTH_NONE => Some(Credentials::nobody()),
        AUTH_UNIX => unix(body),
        _ => None,
    };
    let credentials = credentials.ok_or(NotACall::Refused(id, Refusal::Credentials))?;
    Ok((Call { id, program, version, procedure, credentials }, bytes))
}

fn unix(mut body: &[u8]) -> Option<Credentials> {
    let _stamp = number(&mut body)?;
    let length = usize::try_from(number(&mut body)?).ok()?;
    take(&mut body, length.next_multiple_of(4))?;
    let (uid, gid) = two(&mut body)?;
    let count = number(&mut body)?;
    let groups = (0..count.min(16)).map(|_| number(&mut body)).collect::<Option<_>>()?;
    (count <= 16).then_some(Credentials { uid, gid, groups })
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*number))
}

fn two(bytes: &mut &[u8]) -> Option<(u32, u32)> {
    Some((number(bytes)?, number(bytes)?))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn opaque<'a>(bytes: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let (flavour, length) = two(bytes)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST_CREDENTIALS)?;
    let body = take(bytes, length.next_multiple_of(4))?;
    Some((flavour, &body[..length]))
}

/// An answer with the result of a procedure, without the record mark.
pub(crate) fn answer(id: u32, result: &impl Pack) -> Result<Vec<u8>, nfs3_types::xdr_codec::Error> {
    let mut bytes = Vec::with_capacity(24 + result.packed_size());
    // accepted, no verifier, success
    head(&mut bytes, &[id, REPLY, 0, AUTH_NONE, 0, 0]);
    result.pack(&mut bytes)?;
    Ok(bytes)
}

/// An answer that says why there is no result.
pub(crate) fn refuse(id: u32, refusal: Refusal) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    match refusal {
        Refusal::RpcVersion => head(&mut bytes, &[id, REPLY, 1, 0, VERSION, VERSION]),
        // AUTH_ERROR, AUTH_TOOWEAK
        Refusal::Credentials => head(&mut bytes, &[id, REPLY, 1, 1, 5]),
        Refusal::Program => head(&mut bytes, &[id, REPLY, 0, AUTH_NONE, 0, 1]),
        Refusal::ProgramVersion(known) => head(&mut bytes, &[id, REPLY, 0, AUTH_NONE, 0, 2, known, known]),
        Refusal::Procedure => head(&mut bytes, &[id, REPLY, 0, AUTH_NONE, 0, 3]),
        Refusal::Arguments => head(&mut bytes, &[id, REPLY, 0, AUTH_NONE, 0, 4]),
    }
    bytes
}

fn head(bytes: &mut Vec<u8>, numbers: &[u32]) {
    for number in numbers {
        bytes.extend(number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use nfs3_types::rpc::{auth_unix, call_body, msg_body, opaque_auth, reply_body, rpc_msg};
    use nfs3_types::xdr_codec::{Opaque, Unpack};
    use proptest::prelude::*;

    use super::*;

    fn packed(credentials: &auth_unix) -> Vec<u8> {
        let call = call_body {
            rpcvers: 2,
            prog: 100_003,
            vers: 3,
            proc: 6,
            cred: opaque_auth::auth_unix(credentials),
            verf: opaque_auth::default(),
        };
        let mut bytes = Vec::new();
        rpc_msg { xid: 7, body: msg_body::CALL(call) }.pack(&mut bytes).expect("room");
        bytes.extend(b"args");
        bytes
    }

    #[test]
    fn a_call_of_the_library_is_read() {
        let groups = vec![4, 27];
        let machine = Opaque::borrowed(b"sandbox");
        let bytes = packed(&auth_unix { stamp: 1, machinename: machine, uid: 1000, gid: 1001, gids: groups });
        let (call, arguments) = read_call(&bytes).expect("a call");
        let credentials = Credentials { uid: 1000, gid: 1001, groups: vec![4, 27] };
        assert_eq!(call, Call { id: 7, program: 100_003, version: 3, procedure: 6, credentials });
        assert_eq!(arguments, b"args");
    }

    #[test]
    fn more_groups_than_the_protocol_allows_are_bad_credentials() {
        let bytes = packed(&auth_unix { gids: vec![1; 17], ..auth_unix::default() });
        assert_eq!(read_call(&bytes), Err(NotACall::Refused(7, Refusal::Credentials)));
    }

    #[test]
    fn refusals_are_what_the_library_reads_as_such() {
        use Refusal::{Arguments, Credentials, Procedure, Program, ProgramVersion, RpcVersion};
        for refusal in [RpcVersion, Credentials, Program, ProgramVersion(3), Procedure, Arguments] {
            let bytes = refuse(9, refusal);
            let mut rest = bytes.as_slice();
            let (message, _) = rpc_msg::unpack(&mut rest).expect("a message");
            assert!(rest.is_empty(), "{refusal:?}");
            let denied = matches!(message.body, msg_body::REPLY(reply_body::MSG_DENIED(_)));
            assert_eq!(denied, matches!(refusal, RpcVersion | Credentials), "{refusal:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_call(&bytes);
        }
    }
}
