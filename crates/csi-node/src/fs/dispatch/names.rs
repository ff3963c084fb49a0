//! Requests about names: look up, make, remove, rename.

use std::ffi::OsStr;
use std::path::Path;

use fuser::{Errno, RenameFlags, ReplyEmpty, ReplyEntry, Request};

use super::Dispatch;
use super::answers::{answer_entry, or_reply, text};
use crate::fs::attributes::{Kind, Stat};
use crate::fs::renames::Place;

const TYPE_MASK: u32 = 0o170_000;
const TYPE_FILE: u32 = 0o100_000;

impl Dispatch {
    pub(super) fn new_stat(&self, kind: Kind, mode: u32, request: &Request) -> Stat {
        Stat::new(kind, mode, request.uid(), request.gid(), self.volume.now())
    }

    pub(super) fn look_up(&self, parent: u64, name: &OsStr, reply: ReplyEntry) {
        let name = or_reply!(text(name), reply);
        if let Some(ino) = self.volume.try_lookup(parent, &name) {
            return answer_entry(&self.volume, Ok(ino), reply);
        }
        self.entry_task(reply, move |volume| async move { volume.lookup(parent, &name).await });
    }

    /// Makes a file without opening it; `mode` has the umask applied.
    pub(super) fn make_node(
        &self,
        request: &Request,
        parent: u64,
        name: &OsStr,
        mode: u32,
        reply: ReplyEntry,
    ) {
        let name = or_reply!(text(name), reply);
        if mode & TYPE_MASK != TYPE_FILE {
            return reply.error(Errno::EPERM);
        }
        let stat = self.new_stat(Kind::File, mode, request);
        self.entry_task(reply, move |volume| async move {
            let (ino, handle) = volume.create(parent, &name, stat, false).await?;
            let saved = volume.save(&volume.file_handle(handle)?.file).await;
            volume.release(handle).await;
            saved.map(|()| ino)
        });
    }

    /// Makes a directory; `mode` has the umask applied.
    pub(super) fn make_directory(
        &self,
        request: &Request,
        parent: u64,
        name: &OsStr,
        mode: u32,
        reply: ReplyEntry,
    ) {
        let name = or_reply!(text(name), reply);
        let stat = self.new_stat(Kind::Directory, mode, request);
        self.entry_task(reply, move |volume| async move { volume.make_directory(parent, &name, stat).await });
    }

    pub(super) fn make_link(
        &self,
        request: &Request,
        parent: u64,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let name = or_reply!(text(name), reply);
        let target = or_reply!(text(target.as_os_str()), reply);
        let stat = self.new_stat(Kind::Link, 0o777, request);
        self.entry_task(
            reply,
            move |volume| async move { volume.make_link(parent, &name, &target, stat).await },
        );
    }

    pub(super) fn remove_file(&self, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let name = or_reply!(text(name), reply);
        self.empty_task(reply, move |volume| async move { volume.unlink(parent, &name).await });
    }

    pub(super) fn remove_directory(&self, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let name = or_reply!(text(name), reply);
        self.empty_task(reply, move |volume| async move { volume.remove_directory(parent, &name).await });
    }

    pub(super) fn move_name(
        &self,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let name = or_reply!(text(from.1), reply);
        let new_name = or_reply!(text(to.1), reply);
        if !(flags & !RenameFlags::RENAME_NOREPLACE).is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        let (parent, new_parent) = (from.0, to.0);
        self.empty_task(reply, move |volume| async move {
            let from = Place { parent, name: &name };
            let to = Place { parent: new_parent, name: &new_name };
            volume.rename(from, to, replace).await
        });
    }
}
