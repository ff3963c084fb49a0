//! What is sent: a row of byte chunks that can be sent again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of a request. Cloning is cheap, so that an attempt can be repeated.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    chunks: Arc<[Bytes]>,
    length: u64,
}

impl Payload {
    /// The chunks, one after the other.
    pub fn chunks(chunks: Vec<Bytes>) -> Self {
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks: chunks.into(), length }
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn body(&self) -> Sending {
        Sending {
            left: self.chunks.iter().filter(|chunk| !chunk.is_empty()).cloned().collect(),
            length: self.length,
        }
    }
}

impl From<Bytes> for Payload {
    fn from(chunk: Bytes) -> Self {
        Self::chunks(vec![chunk])
    }
}

/// One sending of a [`Payload`].
#[derive(Debug)]
pub(super) struct Sending {
    left: VecDeque<Bytes>,
    length: u64,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.left.pop_front();
        if let Some(chunk) = &chunk {
            self.length -= chunk.len() as u64;
        }
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
