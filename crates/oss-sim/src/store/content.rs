//! What an object holds: ranges of blobs, one after the other.
//!
//! A copy, a completed multipart upload and a part copied from another object only name ranges of blobs that are
//! there already; no byte is moved for them.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, Stream};
use s3s::stream::{ByteStream, RemainingLength};
use tokio::task::JoinHandle;

use super::blob::Blob;
use super::buffers::BUFFER_SIZE;

/// How many bytes one read of a file asks for; one such read is under way while another is being sent.
const READ_SIZE: u64 = BUFFER_SIZE as u64;

/// A range of a blob.
#[derive(Clone, Debug)]
struct Segment {
    blob: Arc<Blob>,
    range: Range<u64>,
}

/// The bytes of an object or of a part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    segments: Vec<Segment>,
    length: u64,
}

impl Content {
    /// The first `length` bytes of `blob`, which are all of them.
    pub(super) fn whole(blob: Blob, length: u64) -> Self {
        Self { segments: vec![Segment { blob: Arc::new(blob), range: 0..length }], length }
    }

    /// One content after the other.
    pub(super) fn concatenate<'content>(parts: impl IntoIterator<Item = &'content Self>) -> Self {
        let mut whole = Self::default();
        for part in parts {
            whole.segments.extend(part.segments.iter().cloned());
            whole.length += part.length;
        }
        whole
    }

    /// Number of bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes of `range`, which must lie within the content.
    pub(crate) fn slice(&self, range: Range<u64>) -> Self {
        let mut segments = Vec::new();
        let mut position = 0;
        for segment in &self.segments {
            let end = position + (segment.range.end - segment.range.start);
            let from = range.start.max(position);
            let to = range.end.min(end);
            if from < to {
                let start = segment.range.start + (from - position);
                segments.push(Segment { blob: segment.blob.clone(), range: start..start + (to - from) });
            }
            position = end;
        }
        Self { segments, length: range.end - range.start }
    }

    /// Reads everything into memory.
    ///
    /// # Errors
    /// When a blob's file can't be read.
    pub(crate) async fn read_all(&self) -> std::io::Result<Bytes> {
        let mut stream = self.stream();
        let mut all = BytesMut::new();
        while let Some(chunk) = futures::StreamExt::next(&mut stream).await {
            all.extend_from_slice(&chunk.map_err(std::io::Error::other)?);
        }
        Ok(all.freeze())
    }

    /// The bytes as a stream that holds at most two reads in memory.
    pub(crate) fn stream(&self) -> ContentStream {
        ContentStream {
            segments: self.segments.iter().cloned().collect(),
            remaining: self.length,
            reading: None,
        }
    }
}

/// A stream of a content's bytes.
pub(crate) struct ContentStream {
    segments: VecDeque<Segment>,
    remaining: u64,
    reading: Option<Reading>,
}

/// A read that is under way, or needed no waiting.
enum Reading {
    Ready(Bytes),
    File(JoinHandle<std::io::Result<Bytes>>),
}

impl ContentStream {
    /// Starts the next read, if there is anything left to read.
    fn start(&mut self) -> std::io::Result<Option<Reading>> {
        let Some(segment) = self.segments.front_mut() else { return Ok(None) };
        let end = segment.range.end.min(segment.range.start + READ_SIZE);
        let range = segment.range.start..end;
        let blob = segment.blob.clone();
        segment.range.start = end;
        if segment.range.is_empty() {
            self.segments.pop_front();
        }
        let length = usize::try_from(range.end - range.start).map_err(std::io::Error::other)?;
        Ok(Some(match &*blob {
            Blob::Memory { .. } => Reading::Ready(blob.read(range.start, length)?),
            Blob::File(_) => {
                Reading::File(tokio::task::spawn_blocking(move || blob.read(range.start, length)))
            }
        }))
    }

    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<Option<Bytes>>> {
        let reading = match self.reading.take() {
            Some(reading) => Some(reading),
            None => self.start()?,
        };
        let bytes = match reading {
            None => return Poll::Ready(Ok(None)),
            Some(Reading::Ready(bytes)) => bytes,
            Some(Reading::File(mut task)) => match task.poll_unpin(context) {
                Poll::Pending => {
                    self.reading = Some(Reading::File(task));
                    return Poll::Pending;
                }
                Poll::Ready(read) => read.map_err(std::io::Error::other)??,
            },
        };
        self.remaining -= bytes.len() as u64;
        self.reading = self.start()?;
        Poll::Ready(Ok(Some(bytes)))
    }
}

impl Stream for ContentStream {
    type Item = Result<Bytes, s3s::StdError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_bytes(context).map(|read| read.map_err(Into::into).transpose())
    }
}

impl ByteStream for ContentStream {
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.remaining)
            .map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}
