//! What WRITE has taken as `UNSTABLE` and no COMMIT has put on disk. A server that restarts may have lost it (RFC 1813
//! §4.8), and this one loses all of it, so that a client that doesn't write it again is found out.
//!
//! The bytes go into the file at once, for readers to see; what was there before is kept beside it until they count as
//! being on disk.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io;

use crate::attributes;

/// Bytes of one file that were overwritten, from which on the server puts them on its disk unasked.
const MOST_KEPT: usize = 64 << 20;

/// The uncommitted writes of an export.
#[derive(Debug, Default)]
pub(crate) struct Unstable {
    files: Mutex<HashMap<u64, Arc<Mutex<Taken>>>>,
}

/// The uncommitted writes of one file, the oldest first.
#[derive(Debug, Default)]
struct Taken {
    writes: Vec<Write>,
    kept: usize,
}

/// One write, and what it takes to undo it.
#[derive(Debug)]
struct Write {
    file: Arc<OwnedFd>,
    offset: u64,
    length: u64,
    /// What was there before; shorter than what was written where the file ended earlier.
    before: Vec<u8>,
    /// Where the file ended before.
    size: u64,
}

/// What a restart has lost.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Lost {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Unstable {
    /// Has `store` write up to `length` bytes at `offset` of the file with this inode, and answers how many it wrote.
    pub(crate) fn write(
        &self,
        (inode, file): (u64, &Arc<OwnedFd>),
        offset: u64,
        length: usize,
        store: impl FnOnce() -> crate::status::Result<usize>,
    ) -> crate::status::Result<usize> {
        let taken = lock(&self.files).entry(inode).or_default().clone();
        // Held meanwhile, so that the writes of a file are undone in the order in which they were made.
        let mut taken = lock(&taken);
        let (before, size) = before(file, offset, length).map_err(crate::status::of)?;
        let written = store()?;
        taken.kept += before.len();
        let length = u64::try_from(written).unwrap_or(u64::MAX);
        taken.writes.push(Write { file: file.clone(), offset, length, before, size });
        if taken.kept > MOST_KEPT {
            *taken = Taken::default();
        }
        Ok(written)
    }

    /// What was written to this inode is on disk from now on.
    pub(crate) fn settle(&self, inode: u64) {
        let taken = lock(&self.files).get(&inode).cloned();
        if let Some(taken) = taken {
            *lock(&taken) = Taken::default();
        }
    }

    /// The file is gone.
    pub(crate) fn forget(&self, inode: u64) {
        lock(&self.files).remove(&inode);
    }

    /// Loses everything that is not on disk.
    pub(crate) fn lose(&self) -> Lost {
        let mut lost = Lost::default();
        for (_, taken) in lock(&self.files).drain() {
            let mut taken = lock(&taken);
            lost.files += u64::from(!taken.writes.is_empty());
            for write in taken.writes.drain(..).rev() {
                lost.bytes += write.length;
                if let Err(error) = write.undo() {
                    tracing::error!(%error, "a write that was not committed stays");
                }
            }
        }
        lost
    }
}

impl Write {
    fn undo(&self) -> io::Result<()> {
        let mut at = self.offset;
        let mut rest = self.before.as_slice();
        while !rest.is_empty() {
            let written = io::pwrite(&self.file, rest, at)?;
            rest = &rest[written..];
            at += u64::try_from(written).unwrap_or(u64::MAX);
        }
        rustix::fs::ftruncate(&self.file, self.size)
    }
}

/// What of a file is in `length` bytes from `offset`, and where the file ends.
fn before(file: &OwnedFd, offset: u64, length: usize) -> io::Result<(Vec<u8>, u64)> {
    let size = attributes::of_file(file)?.stx_size;
    let there = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX).min(length);
    let mut bytes = vec![0; there];
    let mut done = 0;
    while done < there {
        match io::pread(file, &mut bytes[done..], offset + u64::try_from(done).unwrap_or(u64::MAX))? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    Ok((bytes, size))
}
