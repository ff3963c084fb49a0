//! Bytes that were stored once and never change: small ones in memory, the others in files of their own.

use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::buffers::Buffers;

/// Blobs of at most this many bytes may stay in memory.
pub(super) const SMALL: u64 = 64 * 1024;

/// How many bytes all blobs in memory may hold together; what comes later goes to files.
const MEMORY_BUDGET: u64 = 16 * 1024 * 1024;

/// Makes blobs and counts the memory they hold.
#[derive(Debug)]
pub(crate) struct Blobs {
    directory: PathBuf,
    made: AtomicU64,
    in_memory: Arc<AtomicU64>,
    buffers: Buffers,
}

impl Blobs {
    /// Keeps its files in `directory`, which must exist.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, made: AtomicU64::new(0), in_memory: Arc::default(), buffers: Buffers::default() }
    }

    /// A blob in memory, unless `bytes` is too large or the budget is used up.
    pub(super) fn small(&self, bytes: &[u8]) -> Option<Blob> {
        let length = bytes.len() as u64;
        let fits = |used: u64| used.checked_add(length).filter(|used| *used <= MEMORY_BUDGET);
        if length > SMALL || self.in_memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err()
        {
            return None;
        }
        let lease = Lease { bytes: length, in_memory: self.in_memory.clone() };
        Some(Blob::Memory { bytes: Bytes::copy_from_slice(bytes), _lease: lease })
    }

    /// A new empty file for a blob that is about to be written.
    pub(super) fn create_file(&self) -> std::io::Result<(std::fs::File, OwnedFile)> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{number:x}"));
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok((file, OwnedFile { path, buffers: self.buffers.clone() }))
    }
}

/// Gives its share of the memory budget back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    bytes: u64,
    in_memory: Arc<AtomicU64>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.in_memory.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A file that is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct OwnedFile {
    path: PathBuf,
    buffers: Buffers,
}

impl OwnedFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnedFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "blob file not removed");
        }
    }
}

/// Stored bytes.
#[derive(Debug)]
pub(crate) enum Blob {
    /// A small one.
    Memory {
        /// The bytes, in an allocation of their own.
        bytes: Bytes,
        /// Its share of the memory budget.
        _lease: Lease,
    },
    /// A large one.
    File(OwnedFile),
}

impl Blob {
    /// Reads `length` bytes, at most [`BUFFER_SIZE`](super::buffers::BUFFER_SIZE), from `offset` on. Blocks on the file
    /// system.
    pub(super) fn read(&self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        match self {
            Self::Memory { bytes, .. } => {
                let start = usize::try_from(offset).map_err(std::io::Error::other)?;
                Ok(bytes.slice(start..start + length))
            }
            Self::File(owned) => {
                let mut file = std::fs::File::open(owned.path())?;
                file.seek(SeekFrom::Start(offset))?;
                owned.buffers.read(&mut file, length)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_a_budget_that_dropped_blobs_give_back() {
        let blobs = Blobs::new(PathBuf::new());
        let bytes = vec![0; usize::try_from(SMALL).expect("a size")];
        let fit = MEMORY_BUDGET / SMALL;
        let mut kept: Vec<Blob> = (0..fit).map(|_| blobs.small(&bytes).expect("room")).collect();
        assert!(blobs.small(&[0]).is_none(), "the budget is used up");
        kept.pop();
        assert!(blobs.small(&bytes).is_some());
    }

    #[test]
    fn a_large_blob_never_stays_in_memory() {
        let blobs = Blobs::new(PathBuf::new());
        assert!(blobs.small(&vec![0; usize::try_from(SMALL + 1).expect("a size")]).is_none());
    }
}
