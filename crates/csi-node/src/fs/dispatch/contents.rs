//! Requests about contents: open, read, write, save, close.

use std::ffi::OsStr;
use std::ops::Range;

use fuser::{
    Errno, FileHandle, FopenFlags, Generation, OpenAccMode, OpenFlags, ReplyCreate, ReplyData, ReplyEmpty,
    ReplyOpen, ReplyWrite, Request,
};

use super::Dispatch;
use super::answers::{KERNEL_KEEPS, or_reply, text};
use crate::fs::attributes::Kind;
use crate::fs::opening::OpenMode;

fn open_mode(flags: OpenFlags) -> OpenMode {
    OpenMode {
        read: flags.acc_mode() != OpenAccMode::O_WRONLY,
        truncate: flags.0 & libc::O_TRUNC != 0 && flags.acc_mode() != OpenAccMode::O_RDONLY,
        append: flags.0 & libc::O_APPEND != 0,
    }
}

impl Dispatch {
    pub(super) fn open_file(&self, ino: u64, flags: OpenFlags, reply: ReplyOpen) {
        self.task(|volume| async move {
            match volume.open(ino, open_mode(flags)).await {
                Ok((handle, keep)) => {
                    let flags = if keep { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() };
                    reply.opened(FileHandle(handle), flags);
                }
                Err(error) => reply.error(error),
            }
        });
    }

    /// Makes a file and opens it; `mode` has the umask applied.
    pub(super) fn create_file(
        &self,
        request: &Request,
        parent: u64,
        name: &OsStr,
        mode: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let name = or_reply!(text(name), reply);
        let stat = self.new_stat(Kind::File, mode, request);
        let append = flags & libc::O_APPEND != 0;
        self.task(|volume| async move {
            let created = volume.create(parent, &name, stat, append).await;
            match created.and_then(|(ino, handle)| Ok((volume.attr(ino)?, handle))) {
                Ok((attr, handle)) => {
                    let (handle, flags) = (FileHandle(handle), FopenFlags::empty());
                    reply.created(&KERNEL_KEEPS, &attr, Generation(0), handle, flags);
                }
                Err(error) => reply.error(error),
            }
        });
    }

    pub(super) fn read_range(&self, handle: FileHandle, range: Range<u64>, reply: ReplyData) {
        let handle = or_reply!(self.volume.file_handle(handle.0), reply);
        let mut slot = Some(reply);
        let done = self.volume.try_read(&handle, range.clone(), |data| {
            if let Some(reply) = slot.take() {
                reply.data(data);
            }
        });
        if done {
            return;
        }
        self.task(|volume| async move {
            let read = volume.read(&handle, range, |data| {
                if let Some(reply) = slot.take() {
                    reply.data(data);
                }
            });
            if let Err(error) = read.await
                && let Some(reply) = slot.take()
            {
                reply.error(error);
            }
        });
    }

    pub(super) fn write_at(&self, handle: FileHandle, offset: u64, data: &[u8], reply: ReplyWrite) {
        let handle = or_reply!(self.volume.file_handle(handle.0), reply);
        if let Some(written) = self.volume.try_write(&handle, offset, data) {
            return reply.written(written);
        }
        let data = data.to_vec();
        self.task(|volume| async move {
            match volume.write(&handle, offset, &data).await {
                Ok(written) => reply.written(written),
                Err(error) => reply.error(error),
            }
        });
    }

    pub(super) fn save(&self, handle: FileHandle, reply: ReplyEmpty) {
        self.empty_task(reply, move |volume| async move {
            let handle = volume.file_handle(handle.0)?;
            volume.save(&handle.file).await
        });
    }

    pub(super) fn close(&self, handle: FileHandle, reply: ReplyEmpty) {
        self.empty_task(reply, move |volume| async move {
            volume.release(handle.0).await;
            Ok(())
        });
    }

    /// Makes the file at least `offset + length` bytes long; nothing else of `fallocate` is offered.
    pub(super) fn allocate(
        &self,
        ino: u64,
        handle: FileHandle,
        (offset, length): (u64, u64),
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        self.empty_task(reply, move |volume| async move {
            let handle = volume.file_handle(handle.0)?;
            let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
            if end <= volume.stat(ino)?.size {
                return Ok(());
            }
            volume.truncate_file(&handle.file, end).await
        });
    }
}
