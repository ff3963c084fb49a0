//! Frames of a stream: one byte of flags, four bytes of length, the payload.

use axum::body::Body;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use serde::Serialize;
use serde_json::json;

use super::{Code, RpcError};

/// The flag of the last frame.
const END: u8 = 2;
/// The longest payload that is accepted, in bytes.
pub(crate) const LONGEST: usize = 64 << 20;

/// A message as a frame.
pub(crate) fn message(message: &impl Serialize) -> Bytes {
    match serde_json::to_vec(message) {
        Ok(payload) => encode(0, &payload),
        Err(problem) => end(Err(&RpcError::new(Code::Internal, problem.to_string()))),
    }
}

/// The last frame of a stream.
pub(crate) fn end(outcome: Result<(), &RpcError>) -> Bytes {
    let payload = match outcome {
        Ok(()) => json!({}),
        Err(error) => json!({ "error": error }),
    };
    encode(END, payload.to_string().as_bytes())
}

fn encode(flags: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 5);
    frame.put_u8(flags);
    frame.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    frame.put_slice(payload);
    frame.freeze()
}

/// Reads frames from a request's body.
pub(crate) struct Reader<S = axum::body::BodyDataStream> {
    body: S,
    buffer: BytesMut,
}

impl Reader {
    pub(crate) fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), buffer: BytesMut::new() }
    }
}

impl<S, E> Reader<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    /// The next message's payload; nothing at the end of the body or after the client's end frame.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, RpcError> {
        loop {
            if let Some((flags, payload)) = self.take()? {
                return match flags {
                    0 => Ok(Some(payload)),
                    END => Ok(None),
                    _ => Err(RpcError::new(Code::Unimplemented, "compressed messages are not accepted")),
                };
            }
            match self.body.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(problem)) => {
                    return Err(RpcError::new(
                        Code::InvalidArgument,
                        format!("cannot read the request: {problem}"),
                    ));
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    return Err(RpcError::new(Code::InvalidArgument, "the request ends within a message"));
                }
            }
        }
    }

    fn take(&mut self) -> Result<Option<(u8, Bytes)>, RpcError> {
        let Some((&[flags, a, b, c, d], _)) = self.buffer.split_first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > LONGEST {
            let text = format!("a message of {length} bytes is longer than {LONGEST}");
            return Err(RpcError::new(Code::ResourceExhausted, text));
        }
        if self.buffer.len() < length + 5 {
            return Ok(None);
        }
        self.buffer.advance(5);
        Ok(Some((flags, self.buffer.split_to(length).freeze())))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{FutureExt as _, stream};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn reader(chunks: Vec<Vec<u8>>) -> Reader<impl Stream<Item = Result<Bytes, Infallible>> + Unpin> {
        let body = stream::iter(chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk))));
        Reader { body, buffer: BytesMut::new() }
    }

    fn all(chunks: Vec<Vec<u8>>) -> Result<Vec<Value>, RpcError> {
        let mut reader = reader(chunks);
        let mut messages = Vec::new();
        while let Some(payload) = reader.next().now_or_never().expect("no waiting")? {
            messages.push(serde_json::from_slice(&payload).expect("json"));
        }
        Ok(messages)
    }

    proptest! {
        #[test]
        fn messages_survive_any_cutting(texts in prop::collection::vec(".{0,40}", 0..5), size in 1_usize..20) {
            let messages = texts.into_iter().map(Value::String).collect::<Vec<_>>();
            let mut bytes = messages.iter().flat_map(message).collect::<Vec<_>>();
            bytes.extend(end(Ok(())));
            let chunks = bytes.chunks(size).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(all(chunks).expect("readable"), messages);
        }
    }

    #[test]
    fn a_torn_a_compressed_and_a_giant_message_are_refused() {
        for (bytes, code) in [
            (&[0, 0, 0, 0, 9, b'{'][..], Code::InvalidArgument),
            (&[1, 0, 0, 0, 1, b'x'][..], Code::Unimplemented),
            (&[0, 0xff, 0, 0, 0][..], Code::ResourceExhausted),
        ] {
            assert_eq!(all(vec![bytes.to_vec()]).unwrap_err().code, code);
        }
    }

    #[test]
    fn the_end_frame_carries_the_error() {
        let frame = end(Err(&RpcError::new(Code::NotFound, "no such process")));
        assert_eq!(frame[0], END);
        assert_eq!(&frame[5..], br#"{"error":{"code":"not_found","message":"no such process"}}"#);
    }
}
