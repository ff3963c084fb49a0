//! Answers to the kernel.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use nix::errno::Errno;

use super::session::Channel;

/// Size of the header of every answer, in bytes.
pub(super) const HEADER: usize = 16;

/// Attributes of an inode as the kernel takes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) number: u64,
    pub(crate) size: u64,
    pub(crate) blocks: u64,
    /// Seconds and nanoseconds.
    pub(crate) accessed: (u64, u32),
    pub(crate) modified: (u64, u32),
    pub(crate) changed: (u64, u32),
    /// Type and permissions.
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) device: u32,
    pub(crate) block_size: u32,
    /// How long the kernel may believe them.
    pub(crate) live: Duration,
}

/// A name that has been found or made. The kernel asks for it again each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) node: u64,
    pub(crate) attributes: Attributes,
}

/// What the kernel does with the content of a file that was opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Opened {
    /// It drops what it has of it.
    Afresh,
    /// It keeps what it has of it.
    Keeping,
    /// It keeps nothing: every read and write is asked for.
    Direct,
}

/// How full a file system is, in blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    pub(crate) blocks: u64,
    pub(crate) free: u64,
    pub(crate) available: u64,
    pub(crate) files: u64,
    pub(crate) files_free: u64,
    pub(crate) block_size: u32,
}

/// Names for one answer, as many as fit.
#[derive(Debug)]
pub(crate) struct Names {
    bytes: BytesMut,
    room: usize,
}

impl Names {
    /// An empty list of at most `size` bytes.
    pub(crate) fn new(size: u32) -> Self {
        Self { bytes: BytesMut::new(), room: usize::try_from(size).unwrap_or(usize::MAX) }
    }

    /// Adds `name`, after which a listing goes on at `next`. Answers whether it did fit. `kind` is the type as in
    /// a mode, without the permissions.
    pub(crate) fn add(&mut self, number: u64, next: u64, kind: u32, name: &[u8]) -> bool {
        let padded = (24 + name.len()).next_multiple_of(8);
        let Ok(length) = u32::try_from(name.len()) else { return false };
        if self.bytes.len() + padded > self.room {
            return false;
        }
        self.bytes.put_u64_ne(number);
        self.bytes.put_u64_ne(next);
        self.bytes.put_u32_ne(length);
        self.bytes.put_u32_ne(kind >> 12);
        self.bytes.put_slice(name);
        self.bytes.put_bytes(0, padded - 24 - name.len());
        true
    }
}

/// The place for one answer. An operation that ends without one is answered with EIO.
#[derive(Debug)]
pub(crate) struct Reply {
    channel: Arc<Channel>,
    unique: u64,
    answered: bool,
}

impl Reply {
    pub(super) fn new(channel: Arc<Channel>, unique: u64) -> Self {
        Self { channel, unique, answered: false }
    }

    fn send(mut self, error: Option<Errno>, body: &[&[u8]]) {
        self.answered = true;
        self.channel.answer(self.unique, error, body);
    }

    pub(crate) fn error(self, error: Errno) {
        self.send(Some(error), &[]);
    }

    pub(crate) fn done(self) {
        self.send(None, &[]);
    }

    /// Answers with bytes: what was read, or a link's target.
    pub(crate) fn data(self, parts: &[Bytes]) {
        let parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        self.send(None, &parts);
    }

    pub(crate) fn names(self, names: &Names) {
        self.send(None, &[&names.bytes]);
    }

    pub(crate) fn written(self, size: u32) {
        let mut body = BytesMut::with_capacity(8);
        body.put_u32_ne(size);
        body.put_u32_ne(0);
        self.send(None, &[&body]);
    }

    pub(crate) fn attributes(self, attributes: &Attributes) {
        let mut body = BytesMut::with_capacity(104);
        body.put_u64_ne(attributes.live.as_secs());
        body.put_u32_ne(attributes.live.subsec_nanos());
        body.put_u32_ne(0);
        put_attributes(&mut body, attributes);
        self.send(None, &[&body]);
    }

    pub(crate) fn entry(self, entry: &Entry) {
        let mut body = BytesMut::with_capacity(128);
        put_entry(&mut body, entry);
        self.send(None, &[&body]);
    }

    pub(crate) fn opened(self, handle: u64, how: Opened) {
        let mut body = BytesMut::with_capacity(16);
        put_open(&mut body, handle, how);
        self.send(None, &[&body]);
    }

    pub(crate) fn created(self, entry: &Entry, handle: u64) {
        let mut body = BytesMut::with_capacity(144);
        put_entry(&mut body, entry);
        put_open(&mut body, handle, Opened::Afresh);
        self.send(None, &[&body]);
    }

    pub(crate) fn space(self, space: &Space) {
        let mut body = BytesMut::with_capacity(80);
        for number in [space.blocks, space.free, space.available, space.files, space.files_free] {
            body.put_u64_ne(number);
        }
        // Block size, longest name, fragment size.
        for number in [space.block_size, 255, space.block_size] {
            body.put_u32_ne(number);
        }
        body.put_bytes(0, 28);
        self.send(None, &[&body]);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.answered {
            self.channel.answer(self.unique, Some(Errno::EIO), &[]);
        }
    }
}

fn put_entry(body: &mut BytesMut, entry: &Entry) {
    body.put_u64_ne(entry.node);
    // Generation, and how long the name is believed: not at all.
    body.put_u64_ne(0);
    body.put_u64_ne(0);
    body.put_u64_ne(entry.attributes.live.as_secs());
    body.put_u32_ne(0);
    body.put_u32_ne(entry.attributes.live.subsec_nanos());
    put_attributes(body, &entry.attributes);
}

fn put_attributes(body: &mut BytesMut, it: &Attributes) {
    for number in [it.number, it.size, it.blocks, it.accessed.0, it.modified.0, it.changed.0] {
        body.put_u64_ne(number);
    }
    for number in [it.accessed.1, it.modified.1, it.changed.1, it.mode, it.links] {
        body.put_u32_ne(number);
    }
    for number in [it.user, it.group, it.device, it.block_size, 0] {
        body.put_u32_ne(number);
    }
}

fn put_open(body: &mut BytesMut, handle: u64, how: Opened) {
    body.put_u64_ne(handle);
    body.put_u32_ne(match how {
        Opened::Afresh => 0,
        Opened::Direct => 1 << 0,
        Opened::Keeping => 1 << 1,
    });
    body.put_u32_ne(0);
}
