//! FUSE requests: what can be answered from memory is answered at once, the rest becomes a task, so that a slow
//! store never holds up requests that don't need it.

use std::ffi::OsStr;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use tokio::runtime::Handle;

use super::attributes::{Kind, Stat, timestamp};
use super::contents::OpenMode;
use super::failure::Outcome;
use super::names::Changes;
use super::renames::Place;
use super::volume::Volume;

/// The kernel keeps nothing: the volume decides itself what it believes, and a lookup costs microseconds.
const KERNEL_KEEPS: Duration = Duration::ZERO;
/// Longest read or write in one request, in bytes.
const LONGEST_REQUEST: u32 = 1 << 20;
/// Reads ahead that the kernel may have under way.
const BACKGROUND: u16 = 64;
/// Names in one answer at most; the kernel's buffer usually ends it earlier.
const NAMES: usize = 512;
/// What ossfs reports as block size, in bytes.
const REPORTED_BLOCK: u64 = 16 << 20;

const TYPE_MASK: u32 = 0o170_000;
const TYPE_FILE: u32 = 0o100_000;

/// A volume as the kernel sees it.
#[derive(Debug)]
pub(super) struct Dispatch {
    volume: Arc<Volume>,
    runtime: Handle,
}

impl Dispatch {
    /// Answers requests for `volume` with tasks on `runtime`.
    pub(super) fn new(volume: Arc<Volume>, runtime: Handle) -> Self {
        Self { volume, runtime }
    }

    /// Runs `work` as a task.
    fn task<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(Arc<Volume>) -> F) {
        self.runtime.spawn(work(Arc::clone(&self.volume)));
    }

    fn entry_task<F>(&self, reply: ReplyEntry, work: impl FnOnce(Arc<Volume>) -> F + Send + 'static)
    where
        F: Future<Output = Outcome<u64>> + Send,
    {
        self.task(|volume| async move {
            let found = work(Arc::clone(&volume)).await;
            answer_entry(&volume, found, reply);
        });
    }

    fn empty_task<F>(&self, reply: ReplyEmpty, work: impl FnOnce(Arc<Volume>) -> F + Send + 'static)
    where
        F: Future<Output = Outcome<()>> + Send,
    {
        self.task(|volume| async move {
            match work(volume).await {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(error),
            }
        });
    }

    fn save(&self, handle: FileHandle, reply: ReplyEmpty) {
        self.empty_task(reply, move |volume| async move {
            let handle = volume.file_handle(handle.0)?;
            volume.save(&handle.file).await
        });
    }

    fn new_stat(&self, kind: Kind, mode: u32, request: &Request) -> Stat {
        Stat::new(kind, mode, request.uid(), request.gid(), self.volume.now())
    }
}

fn answer_entry(volume: &Volume, found: Outcome<u64>, reply: ReplyEntry) {
    match found.and_then(|ino| volume.attr(ino)) {
        Ok(attr) => reply.entry(&KERNEL_KEEPS, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn answer_attr(volume: &Volume, ino: u64, reply: ReplyAttr) {
    match volume.attr(ino) {
        Ok(attr) => reply.attr(&KERNEL_KEEPS, &attr),
        Err(error) => reply.error(error),
    }
}

/// Keys are UTF-8 text; other names can't be stored.
fn text(name: &OsStr) -> Outcome<String> {
    name.to_str().map(str::to_owned).ok_or(Errno::EILSEQ)
}

fn open_mode(flags: OpenFlags) -> OpenMode {
    OpenMode {
        read: flags.acc_mode() != OpenAccMode::O_WRONLY,
        truncate: flags.0 & libc::O_TRUNC != 0 && flags.acc_mode() != OpenAccMode::O_RDONLY,
        append: flags.0 & libc::O_APPEND != 0,
    }
}

macro_rules! or_reply {
    ($outcome:expr, $reply:expr) => {
        match $outcome {
            Ok(value) => value,
            Err(error) => return $reply.error(error),
        }
    };
}

impl Filesystem for Dispatch {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        for wanted in
            [InitFlags::FUSE_ATOMIC_O_TRUNC, InitFlags::FUSE_PARALLEL_DIROPS, InitFlags::FUSE_ASYNC_DIO]
        {
            if let Err(missing) = config.add_capabilities(wanted) {
                tracing::debug!(?missing, "the kernel can't do this");
            }
        }
        for (what, set) in [
            ("max_write", config.set_max_write(LONGEST_REQUEST).is_ok()),
            ("max_readahead", config.set_max_readahead(LONGEST_REQUEST).is_ok()),
            ("max_background", config.set_max_background(BACKGROUND).is_ok()),
        ] {
            if !set {
                tracing::debug!(what, "the kernel's own value stays");
            }
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = or_reply!(text(name), reply);
        if let Some(ino) = self.volume.try_lookup(parent.0, &name) {
            return answer_entry(&self.volume, Ok(ino), reply);
        }
        self.entry_task(reply, move |volume| async move { volume.lookup(parent.0, &name).await });
    }

    fn forget(&self, _request: &Request, ino: INodeNo, count: u64) {
        self.volume.nodes().forget(ino.0, count);
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let life = self.volume.options.attributes_live;
        if self.volume.is_fresh(ino.0, life) || self.volume.is_being_written(ino.0) {
            return answer_attr(&self.volume, ino.0, reply);
        }
        self.task(|volume| async move {
            match volume.refresh(ino.0, life).await {
                Ok(()) => answer_attr(&volume, ino.0, reply),
                Err(error) => reply.error(error),
            }
        });
    }

    fn setattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let now = self.volume.now();
        let time = |given: TimeOrNow| match given {
            TimeOrNow::SpecificTime(time) => timestamp(time),
            TimeOrNow::Now => now,
        };
        let changes = Changes { mode, uid, gid, atime: atime.map(time), mtime: mtime.map(time) };
        self.task(|volume| async move {
            match set_attributes(&volume, ino.0, size, handle, changes).await {
                Ok(()) => answer_attr(&volume, ino.0, reply),
                Err(error) => reply.error(error),
            }
        });
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        self.task(|volume| async move {
            match volume.read_link(ino.0).await {
                Ok(target) => reply.data(&target),
                Err(error) => reply.error(error),
            }
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let name = or_reply!(text(name), reply);
        if mode & TYPE_MASK != TYPE_FILE {
            return reply.error(Errno::EPERM);
        }
        let stat = self.new_stat(Kind::File, mode & !umask, request);
        self.entry_task(reply, move |volume| async move {
            let (ino, handle) = volume.create(parent.0, &name, stat, false).await?;
            let saved = volume.save(&volume.file_handle(handle)?.file).await;
            volume.release(handle).await;
            saved.map(|()| ino)
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let name = or_reply!(text(name), reply);
        let stat = self.new_stat(Kind::Directory, mode & !umask, request);
        self.entry_task(
            reply,
            move |volume| async move { volume.make_directory(parent.0, &name, stat).await },
        );
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = or_reply!(text(name), reply);
        self.empty_task(reply, move |volume| async move { volume.unlink(parent.0, &name).await });
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = or_reply!(text(name), reply);
        self.empty_task(reply, move |volume| async move { volume.remove_directory(parent.0, &name).await });
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let name = or_reply!(text(name), reply);
        let target = or_reply!(text(target.as_os_str()), reply);
        let stat = self.new_stat(Kind::Link, 0o777, request);
        self.entry_task(reply, move |volume| async move {
            volume.make_link(parent.0, &name, &target, stat).await
        });
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let name = or_reply!(text(name), reply);
        let new_name = or_reply!(text(new_name), reply);
        if !(flags & !RenameFlags::RENAME_NOREPLACE).is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        self.empty_task(reply, move |volume| async move {
            let from = Place { parent: parent.0, name: &name };
            let to = Place { parent: new_parent.0, name: &new_name };
            volume.rename(from, to, replace).await
        });
    }

    fn link(&self, _request: &Request, _ino: INodeNo, _parent: INodeNo, _name: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn open(&self, _request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.task(|volume| async move {
            match volume.open(ino.0, open_mode(flags)).await {
                Ok((handle, keep)) => {
                    let flags = if keep { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() };
                    reply.opened(FileHandle(handle), flags);
                }
                Err(error) => reply.error(error),
            }
        });
    }

    fn read(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let handle = or_reply!(self.volume.file_handle(handle.0), reply);
        let range = offset..offset.saturating_add(u64::from(size));
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

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
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

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.save(handle, reply);
    }

    fn fsync(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        self.save(handle, reply);
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.empty_task(reply, move |volume| async move {
            volume.release(handle.0).await;
            Ok(())
        });
    }

    fn opendir(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let handle = or_reply!(self.volume.open_directory(ino.0), reply);
        reply.opened(FileHandle(handle), FopenFlags::empty());
    }

    fn readdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let listing = or_reply!(self.volume.listing(handle.0), reply);
        self.task(|volume| async move {
            let mut reply = reply;
            match fill(&volume, &listing, offset, &mut reply).await {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(error),
            }
        });
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.volume.remove_listing(handle.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        // A bucket has no end; these are the numbers that ossfs reports.
        let blocks = u64::MAX / REPORTED_BLOCK;
        let files = u64::MAX / 1024;
        let size = u32::try_from(REPORTED_BLOCK).unwrap_or(u32::MAX);
        reply.statfs(blocks, blocks, blocks, files, files, size, 255, size);
    }

    fn access(&self, _request: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        // The kernel checks permissions itself (default_permissions).
        reply.ok();
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let name = or_reply!(text(name), reply);
        let stat = self.new_stat(Kind::File, mode & !umask, request);
        let append = flags & libc::O_APPEND != 0;
        self.task(|volume| async move {
            let created = volume.create(parent.0, &name, stat, append).await;
            match created.and_then(|(ino, handle)| Ok((volume.attr(ino)?, handle))) {
                Ok((attr, handle)) => {
                    reply.created(
                        &KERNEL_KEEPS,
                        &attr,
                        Generation(0),
                        FileHandle(handle),
                        FopenFlags::empty(),
                    );
                }
                Err(error) => reply.error(error),
            }
        });
    }

    fn fallocate(
        &self,
        _request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        self.empty_task(reply, move |volume| async move {
            let handle = volume.file_handle(handle.0)?;
            let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
            if end <= volume.stat(ino.0)?.size {
                return Ok(());
            }
            volume.truncate_file(&handle.file, end).await
        });
    }
}

async fn set_attributes(
    volume: &Volume,
    ino: u64,
    size: Option<u64>,
    handle: Option<FileHandle>,
    changes: Changes,
) -> Outcome<()> {
    if let Some(size) = size {
        if let Some(handle) = handle {
            let handle = volume.file_handle(handle.0)?;
            volume.truncate_file(&handle.file, size).await?;
        } else {
            volume.refresh(ino, Duration::ZERO).await?;
            let file = volume.attach(ino).await?;
            let outcome = match volume.truncate_file(&file, size).await {
                Ok(()) => volume.save(&file).await,
                Err(error) => Err(error),
            };
            volume.detach(&file).await;
            outcome?;
        }
    } else {
        volume.refresh(ino, volume.options.attributes_live).await?;
    }
    volume.change_attributes(ino, changes).await
}

/// Entries 0 and 1 are `.` and `..`; those of the listing follow.
async fn fill(
    volume: &Volume,
    listing: &super::listing::Listing,
    offset: u64,
    reply: &mut ReplyDirectory,
) -> Outcome<()> {
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
