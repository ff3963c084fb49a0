//! Bodies that can be given up halfway.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// How much of a refused upload is read, so that the client gets to read the answer instead of a reset connection.
const DRAINED: u64 = 64 * 1024 * 1024;

/// A connection is broken on purpose.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// A fault says so.
    #[error("the connection is broken after half of the body, as an injected fault says")]
    Fault,
    /// The request's body could not be read.
    #[error("the request's body could not be read")]
    Request(#[source] hyper::Error),
    /// The answer's body could not be produced.
    #[error("the answer's body could not be produced")]
    Answer(#[source] s3s::StdError),
}

/// The body of a request, which the server keeps hold of while an operation reads it.
#[derive(Clone)]
pub(crate) struct RequestBody(Arc<Mutex<Incoming>>);

impl RequestBody {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// How many bytes are still to come, if the client said so.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// Reads what is left, up to a limit; an error on the way ends it, because nobody wants these bytes.
    pub(crate) async fn drain(mut self) {
        let limit = DRAINED;
        let mut drained = 0;
        while drained < limit {
            match self.frame().await {
                Some(Ok(frame)) => drained += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(_)) | None => return,
            }
        }
    }

    /// Reads half of the body and no more.
    pub(crate) async fn read_half(&mut self) -> Result<(), BodyError> {
        let half = self.remaining().unwrap_or(0) / 2;
        let mut read = 0;
        while read < half {
            match self.frame().await {
                Some(frame) => {
                    let frame = frame.map_err(BodyError::Request)?;
                    read += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

/// How long the first half has to leave the server before the connection is broken, which discards what is still
/// in the server's own buffers.
const FLUSH: Duration = Duration::from_millis(20);

/// The first half of an answer's body, then an error, upon which the connection is broken.
pub(crate) struct HalfBody {
    body: s3s::Body,
    left: u64,
    flushed: Pin<Box<tokio::time::Sleep>>,
}

impl HalfBody {
    pub(crate) fn new(body: s3s::Body) -> Self {
        let size = body.size_hint();
        let left = size.exact().unwrap_or_else(|| size.lower()) / 2;
        Self { body, left, flushed: Box::pin(tokio::time::sleep(FLUSH)) }
    }

    /// Breaks the connection once the first half has left.
    fn poll_break(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        ready!(self.flushed.as_mut().poll(context));
        Poll::Ready(Some(Err(BodyError::Fault)))
    }
}

impl Body for HalfBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left == 0 {
            return self.poll_break(context);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let data = frame.transpose().map_err(BodyError::Answer)?.and_then(|frame| frame.into_data().ok());
        let Some(mut data) = data else { return self.poll_break(context) };
        let length = usize::try_from(self.left).map_or(data.len(), |left| left.min(data.len()));
        let chunk = data.copy_to_bytes(length);
        self.left -= chunk.len() as u64;
        self.flushed.as_mut().reset(tokio::time::Instant::now() + FLUSH);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
