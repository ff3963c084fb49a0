//! A file that is written from its beginning to its end: parts go out while later ones are still being written.
//!
//! Up to one part is kept in memory; a small file goes out in one piece when it is closed. How many parts are on
//! their way at once is limited for the whole mount, so that memory stays bounded.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fuser::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::failure::{Outcome, errno};
use crate::s3::{Bucket, Metadata, Part, Payload, S3Error};

/// Writes below this size are gathered in one chunk.
const CHUNK: usize = 128 << 10;

/// How parts are cut.
#[derive(Clone, Debug)]
pub(super) struct PartRules {
    /// Size of a part, in bytes; at least 5 MiB.
    pub(super) size: u64,
    /// Parts on their way at once, in the whole mount.
    pub(super) permits: Arc<Semaphore>,
}

impl PartRules {
    /// Size of part `number`: S3 takes 10,000 parts, so that later ones are larger.
    fn size_of(&self, number: u32) -> u64 {
        match number {
            0..=1000 => self.size,
            1001..=4000 => self.size * 4,
            _ => self.size * 16,
        }
    }
}

/// What the object is to be: its key, media type and metadata.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// Full key.
    pub(super) key: String,
    /// Media type.
    pub(super) content_type: String,
    /// User metadata.
    pub(super) metadata: Metadata,
}

/// The sequential writer.
#[derive(Debug, Default)]
pub(super) struct Stream {
    chunks: Vec<BytesMut>,
    buffered: u64,
    sent: u64,
    upload: Option<Upload>,
}

#[derive(Debug)]
struct Upload {
    destination: Destination,
    id: Arc<str>,
    next: u32,
    done: Vec<Part>,
    running: JoinSet<Result<Part, S3Error>>,
}

impl Stream {
    /// Length so far, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.sent + self.buffered
    }

    /// Where the parts already go, once any does.
    pub(super) fn destination(&self) -> Option<&Destination> {
        self.upload.as_ref().map(|upload| &upload.destination)
    }

    /// Appends `data` if that needs no part to be sent; answers whether it did.
    pub(super) fn try_append(&mut self, data: &[u8], rules: &PartRules) -> bool {
        if self.buffered + data.len() as u64 >= self.part_size(rules) {
            return false;
        }
        self.push(data);
        true
    }

    /// Appends `data`, and sends a part when one is full. Waits while too many parts are on their way.
    ///
    /// # Errors
    /// When a part could not be sent.
    pub(super) async fn append(
        &mut self,
        data: &[u8],
        bucket: &Bucket,
        rules: &PartRules,
        destination: impl FnOnce() -> Outcome<Destination>,
    ) -> Outcome<()> {
        self.push(data);
        if self.buffered < self.part_size(rules) {
            return Ok(());
        }
        if self.upload.is_none() {
            self.upload = Some(Upload::begin(bucket, destination()?).await?);
        }
        self.send(bucket, rules).await
    }

    /// The bytes of `range` as far as they are still here; nothing if some have been sent.
    pub(super) fn read(&self, range: Range<u64>) -> Option<Bytes> {
        let end = range.end.min(self.length());
        if range.start >= end {
            return Some(Bytes::new());
        }
        if range.start < self.sent {
            return None;
        }
        let mut bytes = BytesMut::with_capacity(usize::try_from(end - range.start).ok()?);
        let mut at = self.sent;
        for chunk in &self.chunks {
            let chunk_end = at + chunk.len() as u64;
            let (from, to) = (range.start.max(at), end.min(chunk_end));
            if from < to {
                let (from, to) = (usize::try_from(from - at).ok()?, usize::try_from(to - at).ok()?);
                bytes.extend_from_slice(&chunk[from..to]);
            }
            at = chunk_end;
        }
        Some(bytes.freeze())
    }

    /// Everything written, if nothing has been sent yet; the stream is empty afterwards.
    pub(super) fn take_unsent(&mut self) -> Option<Vec<BytesMut>> {
        if self.upload.is_some() {
            return None;
        }
        self.buffered = 0;
        Some(std::mem::take(&mut self.chunks))
    }

    /// Makes the object of everything written, at `destination` unless parts went elsewhere already, and answers
    /// its version tag.
    ///
    /// # Errors
    /// When the store can't be reached or refuses. What was not sent in parts is kept for another try.
    pub(super) async fn finish(
        &mut self,
        bucket: &Bucket,
        rules: &PartRules,
        destination: &Destination,
    ) -> Outcome<String> {
        if self.upload.is_none() {
            let chunks = self.chunks.iter_mut().map(|chunk| chunk.split().freeze()).collect::<Vec<_>>();
            let payload = Payload::chunks(chunks.clone());
            let put =
                bucket.put(&destination.key, payload, &destination.content_type, &destination.metadata).await;
            if put.is_err() {
                self.chunks = chunks.into_iter().map(BytesMut::from).collect();
            } else {
                *self = Self::default();
            }
            return put.map_err(|error| errno(&error));
        }
        if self.buffered > 0 {
            self.send(bucket, rules).await?;
        }
        let Some(upload) = self.upload.take() else { return Err(Errno::EIO) };
        let finished = upload.finish(bucket).await;
        *self = Self::default();
        finished.map_err(|error| errno(&error))
    }

    /// Forgets everything written, also what the store has of it.
    pub(super) async fn discard(&mut self, bucket: &Bucket) {
        if let Some(mut upload) = self.upload.take() {
            upload.running.abort_all();
            upload.abort(bucket).await;
        }
        *self = Self::default();
    }

    fn part_size(&self, rules: &PartRules) -> u64 {
        rules.size_of(self.upload.as_ref().map_or(1, |upload| upload.next))
    }

    fn push(&mut self, data: &[u8]) {
        self.buffered += data.len() as u64;
        match self.chunks.last_mut() {
            Some(last) if last.len() + data.len() <= CHUNK => last.extend_from_slice(data),
            _ => self.chunks.push(BytesMut::from(data)),
        }
    }

    async fn send(&mut self, bucket: &Bucket, rules: &PartRules) -> Outcome<()> {
        let Some(upload) = &mut self.upload else { return Err(Errno::EIO) };
        upload.reap(false).await.map_err(|error| errno(&error))?;
        let permit = Arc::clone(&rules.permits).acquire_owned().await.map_err(|_| Errno::EIO)?;
        let chunks = std::mem::take(&mut self.chunks).into_iter().map(BytesMut::freeze).collect();
        self.sent += std::mem::take(&mut self.buffered);
        upload.spawn(bucket, Payload::chunks(chunks), permit);
        Ok(())
    }
}

impl Upload {
    async fn begin(bucket: &Bucket, destination: Destination) -> Outcome<Self> {
        let id = bucket
            .create_upload(&destination.key, &destination.content_type, &destination.metadata)
            .await
            .map_err(|error| errno(&error))?;
        Ok(Self { destination, id: id.into(), next: 1, done: Vec::new(), running: JoinSet::new() })
    }

    fn spawn(&mut self, bucket: &Bucket, payload: Payload, permit: OwnedSemaphorePermit) {
        let number = self.next;
        self.next += 1;
        let (bucket, key, id) = (bucket.clone(), self.destination.key.clone(), Arc::clone(&self.id));
        self.running.spawn(async move {
            let part = bucket.upload_part(&key, &id, number, payload).await;
            drop(permit);
            part
        });
    }

    /// Takes in the parts that have arrived, or waits for all of them.
    async fn reap(&mut self, all: bool) -> Result<(), S3Error> {
        loop {
            let joined = if all { self.running.join_next().await } else { self.running.try_join_next() };
            match joined {
                None => return Ok(()),
                Some(Ok(part)) => self.done.push(part?),
                Some(Err(error)) => {
                    return Err(S3Error::Malformed { operation: "UploadPart", reason: error.to_string() });
                }
            }
        }
    }

    async fn finish(mut self, bucket: &Bucket) -> Result<String, S3Error> {
        let finished = match self.reap(true).await {
            Ok(()) => {
                self.done.sort_by_key(|part| part.number);
                bucket.complete_upload(&self.destination.key, &self.id, &self.done).await
            }
            Err(error) => Err(error),
        };
        if finished.is_err() {
            self.abort(bucket).await;
        }
        finished
    }

    async fn abort(&self, bucket: &Bucket) {
        if let Err(error) = bucket.abort_upload(&self.destination.key, &self.id).await {
            tracing::warn!(%error, "an upload can't be given up; its parts stay on the store");
        }
    }
}
