//! What the kernel asks: messages of the FUSE protocol (version 7.31, `linux/fuse.h`) as values.

use std::time::{Duration, SystemTime};

use bytes::{Buf as _, Bytes};

/// Size of the header of every request, in bytes.
const HEADER: usize = 40;

/// One request of the kernel.
#[derive(Debug)]
pub(crate) struct Request {
    /// Its number, by which it is answered.
    pub(crate) unique: u64,
    /// The inode that it is about.
    pub(crate) node: u64,
    /// User of the process that asks.
    pub(crate) user: u32,
    /// Primary group of the process that asks.
    pub(crate) group: u32,
    /// What is asked.
    pub(crate) operation: Operation,
}

/// A time to set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum When {
    /// The time at which it is set.
    Now,
    /// This time.
    At(SystemTime),
}

/// Attributes to change; nothing stays as it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Change {
    pub(crate) mode: Option<u32>,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) accessed: Option<When>,
    pub(crate) modified: Option<When>,
    /// The open file through which the size is changed.
    pub(crate) handle: Option<u64>,
}

/// What is asked. Names are bytes without the closing zero.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names are those of the system calls and their arguments")]
pub(crate) enum Operation {
    Init {
        major: u32,
        minor: u32,
        read_ahead: u32,
        flags: u32,
    },
    Destroy,
    Interrupt {
        unique: u64,
    },
    Lookup {
        name: Bytes,
    },
    Forget {
        nodes: Vec<(u64, u64)>,
    },
    GetAttributes,
    SetAttributes(Change),
    ReadLink,
    SymbolicLink {
        name: Bytes,
        target: Bytes,
    },
    MakeNode {
        name: Bytes,
        mode: u32,
        device: u32,
    },
    MakeDirectory {
        name: Bytes,
        mode: u32,
    },
    Unlink {
        name: Bytes,
    },
    RemoveDirectory {
        name: Bytes,
    },
    Rename {
        name: Bytes,
        new_parent: u64,
        new_name: Bytes,
        flags: u32,
    },
    Link {
        node: u64,
        new_name: Bytes,
    },
    Open {
        flags: u32,
    },
    Create {
        name: Bytes,
        flags: u32,
        mode: u32,
    },
    Read {
        handle: u64,
        offset: u64,
        size: u32,
    },
    Write {
        handle: u64,
        offset: u64,
        data: Bytes,
    },
    Flush,
    Release {
        handle: u64,
    },
    Synchronise,
    OpenDirectory,
    ReadDirectory {
        handle: u64,
        offset: u64,
        size: u32,
    },
    ReleaseDirectory {
        handle: u64,
    },
    SynchroniseDirectory,
    Statistics,
    /// Anything else.
    Other,
}

impl Request {
    /// Reads a message as it came from the device; nothing if it is none.
    pub(crate) fn read(mut message: Bytes) -> Option<Self> {
        if message.len() < HEADER {
            return None;
        }
        let mut header = Arguments(message.split_to(HEADER));
        let _length = header.number()?;
        let code = header.number()?;
        let unique = header.long()?;
        let node = header.long()?;
        let user = header.number()?;
        let group = header.number()?;
        let operation = Operation::read(code, node, Arguments(message))?;
        Some(Self { unique, node, user, group, operation })
    }
}

impl Operation {
    fn read(code: u32, node: u64, mut it: Arguments) -> Option<Self> {
        Some(match code {
            1 => Self::Lookup { name: it.name()? },
            2 => Self::Forget { nodes: vec![(node, it.long()?)] },
            3 => Self::GetAttributes,
            4 => Self::SetAttributes(it.change()?),
            5 => Self::ReadLink,
            6 => Self::SymbolicLink { name: it.name()?, target: it.name()? },
            8 => {
                let (mode, device, _, _) = (it.number()?, it.number()?, it.number()?, it.number()?);
                Self::MakeNode { name: it.name()?, mode, device }
            }
            9 => {
                let (mode, _) = (it.number()?, it.number()?);
                Self::MakeDirectory { name: it.name()?, mode }
            }
            10 => Self::Unlink { name: it.name()? },
            11 => Self::RemoveDirectory { name: it.name()? },
            12 => {
                let new_parent = it.long()?;
                Self::Rename { name: it.name()?, new_parent, new_name: it.name()?, flags: 0 }
            }
            13 => Self::Link { node: it.long()?, new_name: it.name()? },
            14 => Self::Open { flags: it.number()? },
            15 => Self::Read { handle: it.long()?, offset: it.long()?, size: it.number()? },
            16 => it.write()?,
            17 => Self::Statistics,
            18 => Self::Release { handle: it.long()? },
            20 => Self::Synchronise,
            25 => Self::Flush,
            26 => Self::Init {
                major: it.number()?,
                minor: it.number()?,
                read_ahead: it.number()?,
                flags: it.number()?,
            },
            27 => Self::OpenDirectory,
            28 => Self::ReadDirectory { handle: it.long()?, offset: it.long()?, size: it.number()? },
            29 => Self::ReleaseDirectory { handle: it.long()? },
            30 => Self::SynchroniseDirectory,
            35 => {
                let (flags, mode, _, _) = (it.number()?, it.number()?, it.number()?, it.number()?);
                Self::Create { name: it.name()?, flags, mode }
            }
            36 => Self::Interrupt { unique: it.long()? },
            38 => Self::Destroy,
            42 => {
                let (count, _) = (it.number()?, it.number()?);
                let nodes = (0..count).map(|_| Some((it.long()?, it.long()?))).collect::<Option<_>>()?;
                Self::Forget { nodes }
            }
            45 => {
                let (new_parent, flags, _) = (it.long()?, it.number()?, it.number()?);
                Self::Rename { name: it.name()?, new_parent, new_name: it.name()?, flags }
            }
            _ => Self::Other,
        })
    }
}

/// What is left of a message. The kernel's numbers are in the machine's order.
struct Arguments(Bytes);

impl Arguments {
    fn number(&mut self) -> Option<u32> {
        self.0.try_get_u32_ne().ok()
    }

    fn long(&mut self) -> Option<u64> {
        self.0.try_get_u64_ne().ok()
    }

    fn name(&mut self) -> Option<Bytes> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let name = self.0.split_to(end);
        self.0.advance(1);
        Some(name)
    }

    fn write(&mut self) -> Option<Operation> {
        let (handle, offset, size) = (self.long()?, self.long()?, self.number()?);
        // Flags, the lock's owner, the file's flags, padding.
        for _ in 0..5 {
            self.number()?;
        }
        let size = usize::try_from(size).ok().filter(|size| *size <= self.0.len())?;
        Some(Operation::Write { handle, offset, data: self.0.split_to(size) })
    }

    fn change(&mut self) -> Option<Change> {
        let (valid, _) = (self.number()?, self.number()?);
        let (handle, size, _owner) = (self.long()?, self.long()?, self.long()?);
        let (accessed, modified, _changed) = (self.long()?, self.long()?, self.long()?);
        let (accessed_nanos, modified_nanos, _) = (self.number()?, self.number()?, self.number()?);
        let (mode, _) = (self.number()?, self.number()?);
        let (user, group) = (self.number()?, self.number()?);
        let is_set = |bit: u32| valid & (1 << bit) != 0;
        let when = |bit, now, seconds, nanos| {
            let at = if is_set(now) { When::Now } else { When::At(time(seconds, nanos)) };
            is_set(bit).then_some(at)
        };
        Some(Change {
            mode: is_set(0).then_some(mode),
            user: is_set(1).then_some(user),
            group: is_set(2).then_some(group),
            size: is_set(3).then_some(size),
            accessed: when(4, 7, accessed, accessed_nanos),
            modified: when(5, 8, modified, modified_nanos),
            handle: is_set(6).then_some(handle),
        })
    }
}

/// Seconds are signed, though they travel as if they weren't.
fn time(seconds: u64, nanos: u32) -> SystemTime {
    let seconds = seconds.cast_signed();
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 { SystemTime::UNIX_EPOCH - whole } else { SystemTime::UNIX_EPOCH + whole };
    whole + Duration::from_nanos(nanos.into())
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut as _, BytesMut};

    use super::*;

    fn message(code: u32, node: u64, body: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut message = BytesMut::new();
        message.put_u32_ne(0);
        message.put_u32_ne(code);
        message.put_u64_ne(77);
        message.put_u64_ne(node);
        for number in [1000, 1001, 4242, 0] {
            message.put_u32_ne(number);
        }
        body(&mut message);
        message.freeze()
    }

    #[test]
    fn a_write_carries_who_where_and_what() {
        let request = Request::read(message(16, 9, |body| {
            body.put_u64_ne(5);
            body.put_u64_ne(4096);
            body.put_u32_ne(3);
            body.put_bytes(0, 20);
            body.put_slice(b"abc");
        }))
        .expect("read");
        assert_eq!((request.unique, request.node, request.user, request.group), (77, 9, 1000, 1001));
        let Operation::Write { handle: 5, offset: 4096, data } = request.operation else {
            panic!("{:?}", request.operation)
        };
        assert_eq!(data, "abc");
    }

    #[test]
    fn a_rename_has_two_names() {
        let request = Request::read(message(45, 1, |body| {
            body.put_u64_ne(12);
            body.put_u64_ne(1);
            body.put_slice(b"old\0new\0");
        }))
        .expect("read");
        let Operation::Rename { name, new_parent: 12, new_name, flags: 1 } = request.operation else {
            panic!("{:?}", request.operation)
        };
        assert_eq!((name.as_ref(), new_name.as_ref()), (&b"old"[..], &b"new"[..]));
    }

    #[test]
    fn only_the_marked_attributes_change_and_times_may_lie_before_1970() {
        let request = Request::read(message(4, 3, |body| {
            body.put_u64_ne(1 | 1 << 5);
            body.put_bytes(0, 32);
            body.put_i64_ne(-2);
            body.put_bytes(0, 8 + 4);
            body.put_u32_ne(500_000_000);
            body.put_u32_ne(0);
            body.put_u32_ne(0o640);
            body.put_bytes(0xff, 16);
        }))
        .expect("read");
        let modified = SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
        let expected = Change { mode: Some(0o640), modified: Some(When::At(modified)), ..Change::default() };
        let Operation::SetAttributes(change) = request.operation else { panic!("{:?}", request.operation) };
        assert_eq!(change, expected);
    }

    #[test]
    fn a_message_that_ends_early_is_none() {
        assert!(Request::read(Bytes::from_static(&[0; 39])).is_none());
        assert!(Request::read(message(16, 1, |body| body.put_u64_ne(1))).is_none());
        assert!(Request::read(message(1, 1, |body| body.put_slice(b"no end"))).is_none());
    }
}
