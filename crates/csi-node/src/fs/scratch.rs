//! A file that is changed at arbitrary places: what was written is in a sparse local file, the rest still on the
//! store.
//!
//! ```text
//!   0 ─────────── base.length ─────── size
//!   [ store ][ local ][ store ][ zero ][ local ]
//! ```
//!
//! The local file has no name and goes with its descriptor. When the file is saved, ranges that did not change are
//! copied on the server.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fuser::Errno;
use tokio::task::JoinSet;

use super::extents::Extents;
use super::failure::{Outcome, errno, local};
use super::plan::{Piece, plan};
use super::stream::{Destination, PartRules};
use crate::s3::{Bucket, Part, Payload, S3Error};

/// A file up to this size goes out in one piece, and stays local afterwards.
const ONE_PIECE: u64 = 16 << 20;
/// What is fetched at once when a missing range is read.
const FETCH: u64 = 1 << 20;

/// The object that unchanged ranges come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Base {
    /// Its version.
    pub(super) etag: String,
    /// How much of its beginning is still part of the file, in bytes.
    pub(super) length: u64,
}

/// The random-access writer.
#[derive(Debug)]
pub(super) struct Scratch {
    file: fs::File,
    local: Extents,
    base: Option<Base>,
    size: u64,
}

impl Scratch {
    /// An empty file whose local part is in `directory`.
    ///
    /// # Errors
    /// When no local file can be made.
    pub(super) fn empty(directory: &Path) -> Outcome<Self> {
        let file = tempfile::tempfile_in(directory).map_err(|error| local(&error))?;
        Ok(Self { file, local: Extents::default(), base: None, size: 0 })
    }

    /// A file that still is what the store has.
    ///
    /// # Errors
    /// When no local file can be made.
    pub(super) fn of_object(directory: &Path, etag: &str, size: u64) -> Outcome<Self> {
        let base = (size > 0).then(|| Base { etag: etag.to_owned(), length: size });
        Ok(Self { base, size, ..Self::empty(directory)? })
    }

    /// Length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The object has been copied and its copy has this version tag.
    pub(super) fn rebase(&mut self, etag: &str) {
        if let Some(base) = &mut self.base {
            etag.clone_into(&mut base.etag);
        }
    }

    /// Writes `data` at `offset`.
    ///
    /// # Errors
    /// When the local file can't take it.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Outcome<()> {
        self.file.write_all_at(data, offset).map_err(|error| local(&error))?;
        let end = offset + data.len() as u64;
        self.local.insert(offset..end);
        self.size = self.size.max(end);
        Ok(())
    }

    /// Cuts the file off at `size`, or lengthens it with zeros.
    ///
    /// # Errors
    /// When the local file can't be cut.
    pub(super) fn truncate(&mut self, size: u64) -> Outcome<()> {
        if size < self.size {
            self.file.set_len(size).map_err(|error| local(&error))?;
            self.local.truncate(size);
            self.base = self
                .base
                .take()
                .filter(|_| size > 0)
                .map(|base| Base { length: base.length.min(size), ..base });
        }
        self.size = size;
        Ok(())
    }

    /// The bytes of `range`, shorter at the end of the file. Missing ones are fetched from the object at `key`.
    ///
    /// # Errors
    /// When the object has changed or gone, or the store can't be reached.
    pub(super) async fn read(
        &mut self,
        bucket: &Bucket,
        key: Option<&str>,
        range: Range<u64>,
    ) -> Outcome<Bytes> {
        let end = range.end.min(self.size);
        if range.start >= end {
            return Ok(Bytes::new());
        }
        let range = range.start..end;
        self.load(bucket, key, range.clone()).await?;
        self.read_local(range)
    }

    /// Makes `range` local.
    ///
    /// # Errors
    /// When the object has changed or gone, or the store can't be reached.
    pub(super) async fn load(
        &mut self,
        bucket: &Bucket,
        key: Option<&str>,
        range: Range<u64>,
    ) -> Outcome<()> {
        let Some(base) = self.base.clone() else { return Ok(()) };
        // Whole blocks are fetched, so that a program that reads on finds the next range here.
        let start = range.start / FETCH * FETCH;
        let end = range.end.div_ceil(FETCH).saturating_mul(FETCH).min(base.length);
        let missing: Vec<_> = self
            .local
            .pieces(start..end.max(start))
            .into_iter()
            .filter(|(piece, local)| !local && piece.start < range.end && piece.end > range.start)
            .map(|(piece, _)| piece)
            .collect();
        for piece in missing {
            let key = key.ok_or(Errno::EIO)?;
            let (_, mut body) =
                bucket.get(key, piece.clone(), Some(&base.etag)).await.map_err(|error| gone(&error))?;
            let mut at = piece.start;
            while let Some(data) = body.next().await.map_err(|error| errno(&error))? {
                self.file.write_all_at(&data, at).map_err(|error| local(&error))?;
                at += data.len() as u64;
            }
            if at != piece.end {
                tracing::warn!(key, expected = piece.end, got = at, "an object ended early");
                return Err(Errno::EIO);
            }
            self.local.insert(piece);
        }
        Ok(())
    }

    /// Makes the whole file local, so that its object may go.
    ///
    /// # Errors
    /// As [`Scratch::load`].
    pub(super) async fn detach(&mut self, bucket: &Bucket, key: Option<&str>) -> Outcome<()> {
        if let Some(base) = &self.base {
            let length = base.length;
            self.load(bucket, key, 0..length).await?;
            self.base = None;
        }
        Ok(())
    }

    /// Saves the file at `destination`, where its base is too, and answers the version tag.
    ///
    /// # Errors
    /// When the base has changed or gone, or the store can't be reached or refuses; the local part is kept.
    pub(super) async fn save(
        &mut self,
        bucket: &Bucket,
        rules: &PartRules,
        destination: &Destination,
    ) -> Outcome<String> {
        let size = self.size;
        if size <= ONE_PIECE.max(rules.size) {
            self.load(bucket, Some(&destination.key), 0..size).await?;
            self.base = None;
            let payload = Payload::from(self.read_local(0..size)?);
            return bucket
                .put(&destination.key, payload, &destination.content_type, &destination.metadata)
                .await
                .map_err(|error| errno(&error));
        }
        let upload = bucket
            .create_upload(&destination.key, &destination.content_type, &destination.metadata)
            .await
            .map_err(|error| errno(&error))?;
        match self.save_parts(bucket, rules, &destination.key, &upload).await {
            Ok(etag) => {
                // From here on the object is the base, and nothing local is needed.
                self.file.set_len(0).map_err(|error| local(&error))?;
                self.local = Extents::default();
                self.base = Some(Base { etag: etag.clone(), length: size });
                Ok(etag)
            }
            Err(failure) => {
                if let Err(error) = bucket.abort_upload(&destination.key, &upload).await {
                    tracing::warn!(%error, "an upload can't be given up; its parts stay on the store");
                }
                Err(failure)
            }
        }
    }

    async fn save_parts(
        &mut self,
        bucket: &Bucket,
        rules: &PartRules,
        key: &str,
        upload: &str,
    ) -> Outcome<String> {
        let base = self.base.clone().unwrap_or(Base { etag: String::new(), length: 0 });
        let mut running: JoinSet<Result<Part, S3Error>> = JoinSet::new();
        for (number, piece) in (1..).zip(plan(self.size, base.length, &self.local, rules.size)) {
            let permit = Arc::clone(&rules.permits).acquire_owned().await.map_err(|_| Errno::EIO)?;
            let (bucket_, key_, upload_) = (bucket.clone(), key.to_owned(), upload.to_owned());
            match piece {
                Piece::Copy(range) => {
                    let etag = base.etag.clone();
                    running.spawn(async move {
                        let part = bucket_.copy_part(&key_, &upload_, number, &key_, &etag, range).await;
                        drop(permit);
                        part
                    });
                }
                Piece::Send(range) => {
                    self.load(bucket, Some(key), range.clone()).await?;
                    let payload = Payload::from(self.read_local(range)?);
                    running.spawn(async move {
                        let part = bucket_.upload_part(&key_, &upload_, number, payload).await;
                        drop(permit);
                        part
                    });
                }
            }
        }
        let mut parts = Vec::with_capacity(running.len());
        while let Some(joined) = running.join_next().await {
            parts.push(joined.map_err(|_| Errno::EIO)?.map_err(|error| gone(&error))?);
        }
        parts.sort_by_key(|part| part.number);
        bucket.complete_upload(key, upload, &parts).await.map_err(|error| errno(&error))
    }

    fn read_local(&self, range: Range<u64>) -> Outcome<Bytes> {
        let length = usize::try_from(range.end - range.start).map_err(|_| Errno::EFBIG)?;
        let mut bytes = BytesMut::zeroed(length);
        let mut at = 0;
        // What lies past the end of the local file is a hole.
        while at < length {
            match self.file.read_at(&mut bytes[at..], range.start + at as u64) {
                Ok(0) => break,
                Ok(count) => at += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(local(&error)),
            }
        }
        Ok(bytes.freeze())
    }
}

/// A base that changed or went away under a file is an input/output error for whoever has it open.
fn gone(error: &S3Error) -> Errno {
    if error.is_not_found() || error.is_changed() {
        tracing::warn!(%error, "the object was changed by somebody else while it was open here");
        return Errno::EIO;
    }
    errno(error)
}
