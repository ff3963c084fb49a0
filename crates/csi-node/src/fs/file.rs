//! The content of a file that somebody has open, shared by all its handles.

use bytes::BytesMut;
use fuser::Errno;

use super::failure::Outcome;
use super::scratch::Scratch;
use super::stream::Stream;

/// A file while it is open.
#[derive(Debug)]
pub(super) struct File {
    /// Inode number.
    pub(super) ino: u64,
    /// The content; held while it is written, saved or moved.
    pub(super) content: tokio::sync::Mutex<Content>,
}

/// Where the bytes of a file are, and whether the store has them.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a question of its own, and every combination occurs"
)]
pub(super) struct Content {
    /// How it is written.
    pub(super) writing: Writing,
    /// Whether content is to be saved.
    pub(super) dirty: bool,
    /// Whether only the attributes are to be saved.
    pub(super) attributes_dirty: bool,
    /// Whether times were set by a program, so that they must be kept as they are.
    pub(super) times_set: bool,
    /// The failure that lost data; every later operation gets it too.
    pub(super) failed: Option<Errno>,
    /// Whether the last attempt to save failed, and nothing was written since.
    pub(super) save_failed: bool,
    /// Whether the name is gone, so that nothing is to be saved any more.
    pub(super) detached: bool,
    /// Open handles.
    pub(super) handles: usize,
}

/// The three ways to hold a file.
#[derive(Debug)]
pub(super) enum Writing {
    /// It is what the store has.
    Unchanged,
    /// It is written from the beginning on.
    Stream(Stream),
    /// It is changed here and there.
    Scratch(Scratch),
}

impl File {
    /// A file as the store has it.
    pub(super) fn unchanged(ino: u64) -> Self {
        Self { ino, content: tokio::sync::Mutex::new(Content::new(Writing::Unchanged, false)) }
    }

    /// A new, empty file.
    pub(super) fn fresh(ino: u64) -> Self {
        Self { ino, content: tokio::sync::Mutex::new(Content::new(Writing::Stream(Stream::default()), true)) }
    }
}

impl Content {
    fn new(writing: Writing, dirty: bool) -> Self {
        Self {
            writing,
            dirty,
            attributes_dirty: false,
            times_set: false,
            failed: None,
            save_failed: false,
            detached: false,
            handles: 0,
        }
    }

    /// The failure that lost data, if any did.
    ///
    /// # Errors
    /// That failure.
    pub(super) fn check(&self) -> Outcome<()> {
        self.failed.map_or(Ok(()), Err)
    }
}

/// Moves what a stream has kept so far into `scratch`.
///
/// # Errors
/// When the local file can't take it.
pub(super) fn pour(chunks: Vec<BytesMut>, scratch: &mut Scratch) -> Outcome<()> {
    let mut at = scratch.size();
    for chunk in chunks {
        scratch.write(at, &chunk)?;
        at += chunk.len() as u64;
    }
    Ok(())
}
