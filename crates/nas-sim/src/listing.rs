//! The entries of a directory, in an order that lasts.
//!
//! An entry's cookie is the hash of its name, and entries come in the order of their cookies. So a listing can be
//! continued at any time and by anybody: what was there all along is told once, whatever was made or removed
//! meanwhile, and the server may even have been started again.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Dir, Mode, OFlags, Statx};

use crate::attributes::time;
use crate::handle::stable_hash;
use crate::status::{self, Result};

/// How many directories' listings are kept.
const MOST: usize = 16;

/// Cookies of `.` and `..`; those of other entries are larger.
pub(crate) const DOT: u64 = 1;
/// See [`DOT`].
pub(crate) const DOT_DOT: u64 = 2;

/// One entry.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Listed {
    pub(crate) cookie: u64,
    pub(crate) name: Vec<u8>,
    pub(crate) inode: u64,
}

/// A directory's entries by their cookies, without `.` and `..`.
pub(crate) type Listing = Arc<Vec<Listed>>;

/// The listings read last, each good as long as its directory has not changed.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    kept: Mutex<VecDeque<(State, Listing)>>,
}

/// What a change of a directory changes.
type State = (u64, (u32, u32), (u32, u32));

impl Listings {
    /// The entries of `directory`, whose attributes are `stat`.
    pub(crate) fn read(&self, directory: impl AsFd, stat: &Statx) -> Result<Listing> {
        let state = state(stat);
        if let Some((_, listing)) = self.lock().iter().find(|(kept, _)| *kept == state) {
            return Ok(listing.clone());
        }
        let listing = Arc::new(read(directory)?);
        let mut kept = self.lock();
        kept.push_back((state, listing.clone()));
        if kept.len() > MOST {
            kept.pop_front();
        }
        Ok(listing)
    }

    /// Forgets a directory's entries: the clock behind its times may be too coarse to show that they changed.
    pub(crate) fn forget(&self, inode: u64) {
        self.lock().retain(|((kept, ..), _)| *kept != inode);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(State, Listing)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state(stat: &Statx) -> State {
    let (changed, modified) = (time(stat.stx_ctime), time(stat.stx_mtime));
    (stat.stx_ino, (changed.seconds, changed.nseconds), (modified.seconds, modified.nseconds))
}

fn read(directory: impl AsFd) -> Result<Vec<Listed>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, ".", flags, Mode::empty()).map_err(status::of)?;
    let mut entries = Vec::new();
    for entry in Dir::new(opened).map_err(status::of)? {
        let entry = entry.map_err(status::of)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            entries.push(Listed { cookie: cookie(name), name: name.to_owned(), inode: entry.ino() });
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// 63 bits, because clients keep cookies in signed numbers.
fn cookie(name: &[u8]) -> u64 {
    (stable_hash(name) >> 1).max(DOT_DOT + 1)
}
