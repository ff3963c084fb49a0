//! The kernel's notices of changes, as it writes them.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, ReadFlags, WatchFlags, add_watch, init, remove_watch};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use super::messages::EventType;

/// The length of a notice without its name.
const HEADER: usize = 16;

/// One notice.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notice {
    /// Which watch it belongs to.
    pub(super) watch: i32,
    pub(super) flags: ReadFlags,
    /// The entry within the watched directory; empty for the directory itself.
    pub(super) name: std::ffi::OsString,
}

impl Notice {
    /// What happened, in the order in which it is told.
    pub(super) fn kinds(&self) -> impl Iterator<Item = EventType> {
        const KINDS: [(ReadFlags, EventType); 5] = [
            (ReadFlags::CREATE.union(ReadFlags::MOVED_TO), EventType::Create),
            (ReadFlags::MOVED_FROM.union(ReadFlags::MOVE_SELF), EventType::Rename),
            (ReadFlags::ATTRIB, EventType::Chmod),
            (ReadFlags::MODIFY, EventType::Write),
            (ReadFlags::DELETE.union(ReadFlags::DELETE_SELF), EventType::Remove),
        ];
        let flags = self.flags;
        KINDS.into_iter().filter(move |(kind, _)| flags.intersects(*kind)).map(|(_, event)| event)
    }
}

/// An inotify instance.
#[derive(Debug)]
pub(super) struct Inotify {
    // It is no pipe, but only read and waited for.
    notices: pipe::Receiver,
    buffer: Vec<u8>,
}

impl Inotify {
    pub(super) fn new() -> io::Result<Self> {
        let instance = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { notices: pipe::Receiver::from_owned_fd_unchecked(instance)?, buffer: vec![0; 64 << 10] })
    }

    /// Watches the directory `path`; a link to one is followed.
    pub(super) fn add(&self, path: &Path) -> io::Result<i32> {
        let changes = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVE_SELF
            | WatchFlags::ATTRIB
            | WatchFlags::MODIFY
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        Ok(add_watch(&self.notices, path, changes)?)
    }

    /// Ends a watch; one that has ended by itself is fine.
    pub(super) fn remove(&self, watch: i32) {
        let _ = remove_watch(&self.notices, watch);
    }

    /// Waits for notices.
    pub(super) async fn next(&mut self) -> io::Result<Vec<Notice>> {
        let length = self.notices.read(&mut self.buffer).await?;
        Ok(parse(&self.buffer[..length]))
    }
}

fn parse(mut bytes: &[u8]) -> Vec<Notice> {
    let mut notices = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        let number =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = (number(12) as usize).min(rest.len());
        let (name, rest) = rest.split_at(length);
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        notices.push(Notice {
            watch: number(0).cast_signed(),
            flags: ReadFlags::from_bits_retain(number(4)),
            name: OsStr::from_bytes(name).to_owned(),
        });
        bytes = rest;
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_notice_may_tell_several_things_in_a_fixed_order() {
        let all = ReadFlags::DELETE
            | ReadFlags::MODIFY
            | ReadFlags::ATTRIB
            | ReadFlags::MOVED_FROM
            | ReadFlags::CREATE;
        let notice = Notice { watch: 1, flags: all, name: "f".into() };
        let expected =
            [EventType::Create, EventType::Rename, EventType::Chmod, EventType::Write, EventType::Remove];
        assert_eq!(notice.kinds().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn notices_follow_one_another_with_padded_names() {
        let mut bytes = Vec::new();
        for (watch, flags, name) in
            [(3_i32, ReadFlags::CREATE, &b"abc\0\0\0\0\0"[..]), (4, ReadFlags::DELETE_SELF, b"")]
        {
            bytes.extend(watch.to_ne_bytes());
            bytes.extend(flags.bits().to_ne_bytes());
            bytes.extend(0_u32.to_ne_bytes());
            bytes.extend(u32::try_from(name.len()).expect("short").to_ne_bytes());
            bytes.extend(name);
        }
        let notices = parse(&bytes);
        assert_eq!(notices.len(), 2);
        assert_eq!((notices[0].watch, notices[0].name.as_os_str()), (3, OsStr::new("abc")));
        assert_eq!((notices[1].watch, notices[1].flags), (4, ReadFlags::DELETE_SELF));
    }
}
