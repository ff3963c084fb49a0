//! Takes the bytes of an upload: hashes them and keeps them, with no more than a few MiB in memory.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::Checksum;
use tokio::task::JoinHandle;

use super::blob::{Blob, Blobs, OwnedFile, SMALL};
use super::content::Content;

/// How many bytes are gathered before they are written; one batch is being written while the next is gathered.
const BATCH: usize = 1024 * 1024;

/// An upload in progress.
pub(crate) struct Writer {
    blobs: Arc<Blobs>,
    gathered: Vec<Bytes>,
    gathered_length: usize,
    length: u64,
    sink: Sink,
}

/// What a writer made of the bytes.
pub(crate) struct Written {
    /// The bytes.
    pub(crate) content: Content,
    /// Their MD5.
    pub(crate) md5: [u8; 16],
    /// The other checksums that the writer was asked to compute.
    pub(crate) checksum: Checksum,
}

enum Sink {
    Idle(Box<Digested>),
    Busy(JoinHandle<std::io::Result<Box<Digested>>>),
    Failed,
}

/// The hashes so far, and the file once there is one.
struct Digested {
    md5: Md5,
    checksums: ChecksumHasher,
    file: Option<(std::fs::File, OwnedFile)>,
}

impl Digested {
    /// Hashes `chunks` and appends them to the file. Blocks on the file system.
    fn append(&mut self, blobs: &Blobs, chunks: &[Bytes]) -> std::io::Result<()> {
        self.digest(chunks);
        let (file, _) = match &mut self.file {
            Some(file) => file,
            none => none.insert(blobs.create_file()?),
        };
        chunks.iter().try_for_each(|chunk| file.write_all(chunk))
    }

    fn digest(&mut self, chunks: &[Bytes]) {
        for chunk in chunks {
            self.md5.update(chunk);
            self.checksums.update(chunk);
        }
    }
}

impl Writer {
    /// A writer that also computes what `checksums` is set up for.
    pub(crate) fn new(blobs: Arc<Blobs>, checksums: ChecksumHasher) -> Self {
        let sink = Sink::Idle(Box::new(Digested { md5: Md5::new(), checksums, file: None }));
        Self { blobs, gathered: Vec::new(), gathered_length: 0, length: 0, sink }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// When an earlier batch could not be written.
    pub(crate) async fn push(&mut self, chunk: Bytes) -> std::io::Result<()> {
        self.length += chunk.len() as u64;
        self.gathered_length += chunk.len();
        self.gathered.push(chunk);
        if self.gathered_length >= BATCH {
            self.flush().await?;
        }
        Ok(())
    }

    /// Ends the upload.
    ///
    /// # Errors
    /// When the bytes could not be written.
    pub(crate) async fn finish(mut self) -> std::io::Result<Written> {
        let mut digested = if self.length <= SMALL {
            self.settle().await?
        } else {
            self.flush().await?;
            self.settle().await?
        };
        let blob = if let Some((_, file)) = digested.file.take() {
            Blob::File(file)
        } else {
            let bytes = self.gathered.concat();
            digested.digest(&self.gathered);
            self.blobs.small(&bytes).map_or_else(|| spill(&self.blobs, &bytes), Ok)?
        };
        let Digested { md5, checksums, .. } = *digested;
        Ok(Written {
            content: Content::whole(blob, self.length),
            md5: md5.finalize(),
            checksum: checksums.finalize(),
        })
    }

    /// Starts writing what is gathered, once the batch before it is written.
    async fn flush(&mut self) -> std::io::Result<()> {
        let mut digested = self.settle().await?;
        let chunks = std::mem::take(&mut self.gathered);
        self.gathered_length = 0;
        let blobs = self.blobs.clone();
        self.sink = Sink::Busy(tokio::task::spawn_blocking(move || {
            digested.append(&blobs, &chunks)?;
            Ok(digested)
        }));
        Ok(())
    }

    async fn settle(&mut self) -> std::io::Result<Box<Digested>> {
        match std::mem::replace(&mut self.sink, Sink::Failed) {
            Sink::Idle(digested) => Ok(digested),
            Sink::Busy(task) => task.await.map_err(std::io::Error::other)?,
            Sink::Failed => Err(std::io::Error::other("an earlier batch could not be written")),
        }
    }
}

/// A small blob in a file, for when the memory budget is used up.
fn spill(blobs: &Blobs, bytes: &[u8]) -> std::io::Result<Blob> {
    let (mut file, owned) = blobs.create_file()?;
    file.write_all(bytes)?;
    Ok(Blob::File(owned))
}
