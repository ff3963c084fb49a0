//! Calls and answers as bytes.

use std::io::Write as _;

use bytes::{BufMut as _, Bytes, BytesMut};
use nfs3_types::rpc::{
    RPC_VERSION_2, accept_stat_data, accepted_reply, auth_unix, call_body, msg_body, opaque_auth,
    rejected_reply, reply_body, rpc_msg,
};
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack};
use thiserror::Error;

/// Marks the last fragment of a record.
const LAST_FRAGMENT: u32 = 1 << 31;
/// Name that a call gives for the machine that makes it.
const MACHINE: &[u8] = b"mountlab";

/// A call that got no answer, or none that says anything.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub(crate) enum RpcError {
    /// Whoever waited was told to stop.
    #[error("interrupted")]
    Interrupted,
    /// A soft mount gave up.
    #[error("the server does not answer")]
    TimedOut,
    /// The mount has ended.
    #[error("the mount has ended")]
    Ended,
    /// The server doesn't take the caller's word for who it is.
    #[error("access denied by the server: {0}")]
    Denied(String),
    /// The server has no such program or procedure.
    #[error("the server does not offer it")]
    Unavailable,
    /// The server could not make sense of the call, or we of its answer.
    #[error("the server's answer makes no sense: {0}")]
    Garbled(String),
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Procedure {
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) number: u32,
}

/// One call, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Record mark, header and arguments.
    pub(super) head: Bytes,
    /// What is written, if something is; with its length before and its padding after.
    pub(super) data: Bytes,
    pub(super) padding: Bytes,
}

/// `value` in XDR.
///
/// # Errors
/// When it is longer than XDR can say.
pub(crate) fn pack(value: &impl Pack) -> Result<Bytes, RpcError> {
    let mut writer = BytesMut::with_capacity(value.packed_size()).writer();
    value.pack(&mut writer).map_err(garbled)?;
    Ok(writer.into_inner().freeze())
}

/// Reads a value from the front of `bytes` and takes it off.
///
/// # Errors
/// When it isn't one.
pub(crate) fn unpack<T: Unpack>(bytes: &mut Bytes) -> Result<T, RpcError> {
    let mut rest: &[u8] = bytes;
    let (value, _) = T::unpack(&mut rest).map_err(garbled)?;
    let taken = bytes.len() - rest.len();
    drop(bytes.split_to(taken));
    Ok(value)
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn garbled(error: nfs3_types::xdr_codec::Error) -> RpcError {
    RpcError::Garbled(error.to_string())
}

impl Frame {
    /// The call with number `xid`. `data` follows the arguments as one opaque value, if there is any.
    pub(super) fn new(
        xid: u32,
        procedure: Procedure,
        (user, group): (u32, u32),
        arguments: &[u8],
        data: Option<Bytes>,
    ) -> Result<Self, RpcError> {
        let credential = auth_unix {
            stamp: 0,
            machinename: Opaque::borrowed(MACHINE),
            uid: user,
            gid: group,
            gids: Vec::new(),
        };
        let call = rpc_msg {
            xid,
            body: msg_body::CALL(call_body {
                rpcvers: RPC_VERSION_2,
                prog: procedure.program,
                vers: procedure.version,
                proc: procedure.number,
                cred: opaque_auth::auth_unix(&credential),
                verf: opaque_auth::default(),
            }),
        };
        let mut length = call.packed_size() + arguments.len();
        let mut padding = 0;
        if let Some(data) = &data {
            padding = data.len().next_multiple_of(4) - data.len();
            length += 4 + data.len() + padding;
        }
        let too_long = || RpcError::Garbled("the call is too long".to_owned());
        let mark = u32::try_from(length).ok().filter(|length| length & LAST_FRAGMENT == 0);
        let mut head = BytesMut::with_capacity(8 + call.packed_size() + arguments.len());
        head.put_u32(mark.ok_or_else(too_long)? | LAST_FRAGMENT);
        let mut writer = head.writer();
        call.pack(&mut writer).map_err(garbled)?;
        writer.write_all(arguments).map_err(|error| RpcError::Garbled(error.to_string()))?;
        let mut head = writer.into_inner();
        if let Some(data) = &data {
            head.put_u32(u32::try_from(data.len()).map_err(|_| too_long())?);
        }
        Ok(Self {
            head: head.freeze(),
            data: data.unwrap_or_default(),
            padding: Bytes::from_static(&[0; 4]).slice(..padding),
        })
    }
}

/// The number of the call that `record` answers.
pub(super) fn number(record: &[u8]) -> Option<u32> {
    record.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The results in `record`.
pub(super) fn results(mut record: Bytes) -> Result<Bytes, RpcError> {
    let reply: rpc_msg<'_, '_> = unpack(&mut record)?;
    match reply.body {
        msg_body::REPLY(reply_body::MSG_ACCEPTED(accepted_reply { reply_data, .. })) => match reply_data {
            accept_stat_data::SUCCESS => Ok(record),
            accept_stat_data::PROG_UNAVAIL
            | accept_stat_data::PROG_MISMATCH { .. }
            | accept_stat_data::PROC_UNAVAIL => Err(RpcError::Unavailable),
            accept_stat_data::GARBAGE_ARGS => {
                Err(RpcError::Garbled("the server can't read the arguments".to_owned()))
            }
            accept_stat_data::SYSTEM_ERR => Err(RpcError::Garbled("the server is out of order".to_owned())),
        },
        msg_body::REPLY(reply_body::MSG_DENIED(rejected_reply::AUTH_ERROR(why))) => {
            Err(RpcError::Denied(why.to_string()))
        }
        msg_body::REPLY(reply_body::MSG_DENIED(rejected_reply::RPC_MISMATCH { .. })) => {
            Err(RpcError::Unavailable)
        }
        msg_body::CALL(_) => Err(RpcError::Garbled("a call instead of an answer".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Procedure = Procedure { program: 100_003, version: 3, number: 6 };

    #[test]
    fn a_frame_says_how_long_it_is_with_data_and_padding() {
        let frame = Frame::new(7, READ, (1000, 1001), &[1, 2, 3, 4], Some(Bytes::from_static(b"abcde")))
            .expect("built");
        let length = frame.head.len() - 4 + frame.data.len() + frame.padding.len();
        let mark = u32::from_be_bytes(*frame.head.first_chunk().expect("a mark"));
        assert_eq!(mark, LAST_FRAGMENT | u32::try_from(length).expect("short"));
        assert_eq!(frame.padding.len(), 3);
        assert_eq!(number(&frame.head[4..]), Some(7));
        assert!(frame.head.ends_with(&[1, 2, 3, 4, 0, 0, 0, 5]));
    }

    #[test]
    fn a_record_is_its_results_or_why_there_are_none() {
        let record =
            |words: &[u32]| Bytes::from(words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>());
        assert_eq!(results(record(&[7, 1, 0, 0, 0, 0, 9])), Ok(record(&[9])));
        assert_eq!(results(record(&[7, 1, 0, 0, 0, 1])), Err(RpcError::Unavailable));
        assert_eq!(results(record(&[7, 1, 0, 0, 0, 2, 1, 3])), Err(RpcError::Unavailable));
        assert!(matches!(results(record(&[7, 1, 1, 1, 5])), Err(RpcError::Denied(_))));
        assert!(matches!(results(record(&[7, 0])), Err(RpcError::Garbled(_))));
    }
}
