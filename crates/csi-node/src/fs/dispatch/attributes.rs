//! Requests about attributes of files and of the volume.

use std::time::Duration;

use fuser::{FileHandle, ReplyAttr, ReplyStatfs};

use super::Dispatch;
use super::answers::answer_attr;
use crate::fs::failure::Outcome;
use crate::fs::names::Changes;
use crate::fs::volume::Volume;

/// What ossfs reports as block size, in bytes.
const REPORTED_BLOCK: u64 = 16 << 20;
/// Longest name that is reported, in bytes.
const LONGEST_NAME: u32 = 255;

impl Dispatch {
    pub(super) fn show_attributes(&self, ino: u64, reply: ReplyAttr) {
        let life = self.volume.options.attributes_live;
        if self.volume.is_fresh(ino, life) || self.volume.is_being_written(ino) {
            return answer_attr(&self.volume, ino, reply);
        }
        self.attr_task(ino, reply, move |volume| async move { volume.refresh(ino, life).await });
    }

    pub(super) fn change_attributes(
        &self,
        ino: u64,
        size: Option<u64>,
        handle: Option<FileHandle>,
        changes: Changes,
        reply: ReplyAttr,
    ) {
        self.attr_task(
            ino,
            reply,
            move |volume| async move { change(&volume, ino, size, handle, changes).await },
        );
    }
}

async fn change(
    volume: &Volume,
    ino: u64,
    size: Option<u64>,
    handle: Option<FileHandle>,
    changes: Changes,
) -> Outcome<()> {
    match (size, handle) {
        (Some(size), Some(handle)) => {
            let handle = volume.file_handle(handle.0)?;
            volume.truncate_file(&handle.file, size).await?;
        }
        (Some(size), None) => {
            volume.refresh(ino, Duration::ZERO).await?;
            let file = volume.attach(ino).await?;
            let outcome = match volume.truncate_file(&file, size).await {
                Ok(()) => volume.save(&file).await,
                Err(error) => Err(error),
            };
            volume.detach(&file).await;
            outcome?;
        }
        (None, _) => volume.refresh(ino, volume.options.attributes_live).await?,
    }
    volume.change_attributes(ino, changes).await
}

/// A bucket has no end; these are the numbers that ossfs reports.
pub(super) fn answer_room(reply: ReplyStatfs) {
    let blocks = u64::MAX / REPORTED_BLOCK;
    let files = u64::MAX / 1024;
    let size = u32::try_from(REPORTED_BLOCK).unwrap_or(u32::MAX);
    reply.statfs(blocks, blocks, blocks, files, files, size, LONGEST_NAME, size);
}
