//! Requests about open directories.

use fuser::{Errno, FileHandle, FopenFlags, INodeNo, ReplyDirectory, ReplyOpen};

use super::Dispatch;
use super::answers::or_reply;
use crate::fs::attributes::Kind;
use crate::fs::failure::Outcome;
use crate::fs::listing::Listing;
use crate::fs::volume::Volume;

/// Names in one answer at most; the kernel's buffer usually ends it earlier.
const NAMES: usize = 512;

impl Dispatch {
    pub(super) fn open_directory(&self, ino: u64, reply: ReplyOpen) {
        let handle = or_reply!(self.volume.open_directory(ino), reply);
        reply.opened(FileHandle(handle), FopenFlags::empty());
    }

    pub(super) fn read_directory(&self, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listing = or_reply!(self.volume.listing(handle.0), reply);
        self.task(|volume| async move {
            match fill(&volume, &listing, offset, &mut reply).await {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(error),
            }
        });
    }
}

/// Entries 0 and 1 are `.` and `..`; those of the listing follow.
async fn fill(volume: &Volume, listing: &Listing, offset: u64, reply: &mut ReplyDirectory) -> Outcome<()> {
    let parent = volume.nodes().get(listing.ino).map_or(listing.ino, |node| node.parent);
    for (index, (name, ino)) in [(".", listing.ino), ("..", parent)].into_iter().enumerate() {
        let index = index as u64;
        if offset <= index && reply.add(INodeNo(ino), index + 1, Kind::Directory.file_type(), name) {
            return Ok(());
        }
    }
    let first = offset.saturating_sub(2);
    let skipped = usize::try_from(first).map_err(|_| Errno::EINVAL)?;
    for (index, entry) in (first..).zip(listing.entries(volume, skipped, NAMES).await?) {
        if reply.add(INodeNo(entry.ino), index + 3, entry.kind.file_type(), &entry.name) {
            break;
        }
    }
    Ok(())
}
