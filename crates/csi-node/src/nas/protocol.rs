//! The procedures of NFS version 3 (RFC 1813).

use std::time::Duration;

use bytes::Bytes;
use nfs3_types::nfs3::{
    COMMIT3args, COMMIT3resfail, COMMIT3resok, CREATE3args, CREATE3resfail, CREATE3resok, FSINFO3args,
    FSINFO3resfail, FSINFO3resok, FSSTAT3args, FSSTAT3resfail, FSSTAT3resok, GETATTR3args, GETATTR3resok,
    LINK3args, LINK3resfail, LINK3resok, LOOKUP3args, LOOKUP3resfail, LOOKUP3resok, MKDIR3args,
    MKDIR3resfail, MKDIR3resok, MKNOD3args, MKNOD3resfail, MKNOD3resok, NFS_PROGRAM, Nfs3Option, Nfs3Result,
    PROGRAM, READDIR3args, READDIR3resfail, READDIR3resok, READDIRPLUS3args, READDIRPLUS3resfail,
    READDIRPLUS3resok, READLINK3args, READLINK3resfail, READLINK3resok, REMOVE3args, REMOVE3resfail,
    REMOVE3resok, RENAME3args, RENAME3resfail, RENAME3resok, RMDIR3args, RMDIR3resfail, RMDIR3resok,
    SETATTR3args, SETATTR3resfail, SETATTR3resok, SYMLINK3args, SYMLINK3resfail, SYMLINK3resok, VERSION,
    WRITE3resfail, WRITE3resok, cookieverf3, createhow3, diropargs3, fattr3, filename3, mknoddata3, nfs_fh3,
    nfspath3, nfsstat3, post_op_attr, sattr3, stable_how, symlinkdata3,
};
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack, Void};
use nix::errno::Errno;
use tokio::time::sleep;

use super::rpc::{Caller, Procedure, RpcClient, RpcError, pack, unpack};

/// Pause after "try again later", which then doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a procedure has no result.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Failure {
    /// The server says so.
    #[error("{0}")]
    Status(nfsstat3),
    /// It could not be asked.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

/// Result of a procedure.
pub(super) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// What a program sees.
    pub(super) fn errno(&self) -> Errno {
        match self {
            Self::Rpc(RpcError::Interrupted) => Errno::EINTR,
            Self::Rpc(RpcError::Denied(_)) => Errno::EACCES,
            Self::Rpc(RpcError::Unavailable) => Errno::EOPNOTSUPP,
            Self::Rpc(RpcError::TimedOut | RpcError::Ended | RpcError::Garbled(_)) => Errno::EIO,
            Self::Status(status) => errno(*status),
        }
    }

    pub(super) fn is(&self, status: nfsstat3) -> bool {
        *self == Self::Status(status)
    }

    /// Whether the server no longer knows the file.
    pub(super) fn is_stale(&self) -> bool {
        self.is(nfsstat3::NFS3ERR_STALE) || self.is(nfsstat3::NFS3ERR_BADHANDLE)
    }
}

fn errno(status: nfsstat3) -> Errno {
    use nfsstat3 as s;
    match status {
        s::NFS3ERR_PERM => Errno::EPERM,
        s::NFS3ERR_NOENT => Errno::ENOENT,
        s::NFS3ERR_NXIO => Errno::ENXIO,
        s::NFS3ERR_ACCES => Errno::EACCES,
        s::NFS3ERR_EXIST => Errno::EEXIST,
        s::NFS3ERR_XDEV => Errno::EXDEV,
        s::NFS3ERR_NODEV => Errno::ENODEV,
        s::NFS3ERR_NOTDIR => Errno::ENOTDIR,
        s::NFS3ERR_ISDIR => Errno::EISDIR,
        s::NFS3ERR_INVAL | s::NFS3ERR_BADTYPE => Errno::EINVAL,
        s::NFS3ERR_FBIG => Errno::EFBIG,
        s::NFS3ERR_NOSPC => Errno::ENOSPC,
        s::NFS3ERR_ROFS => Errno::EROFS,
        s::NFS3ERR_MLINK => Errno::EMLINK,
        s::NFS3ERR_NAMETOOLONG => Errno::ENAMETOOLONG,
        s::NFS3ERR_NOTEMPTY => Errno::ENOTEMPTY,
        s::NFS3ERR_DQUOT => Errno::EDQUOT,
        s::NFS3ERR_STALE | s::NFS3ERR_BADHANDLE => Errno::ESTALE,
        s::NFS3ERR_NOTSUPP => Errno::EOPNOTSUPP,
        s::NFS3_OK
        | s::NFS3ERR_IO
        | s::NFS3ERR_REMOTE
        | s::NFS3ERR_NOT_SYNC
        | s::NFS3ERR_BAD_COOKIE
        | s::NFS3ERR_TOOSMALL
        | s::NFS3ERR_SERVERFAULT
        | s::NFS3ERR_JUKEBOX => Errno::EIO,
    }
}

/// An optional value of the protocol.
pub(super) fn some<T: Pack + Unpack>(option: Nfs3Option<T>) -> Option<T> {
    match option {
        Nfs3Option::Some(value) => Some(value),
        Nfs3Option::None => None,
    }
}

/// The same, the other way.
pub(super) fn option<T: Pack + Unpack>(value: Option<T>) -> Nfs3Option<T> {
    value.map_or(Nfs3Option::None, Nfs3Option::Some)
}

fn named<'a>(directory: &nfs_fh3, name: &'a [u8]) -> diropargs3<'a> {
    diropargs3 { dir: directory.clone(), name: filename3(Opaque::borrowed(name)) }
}

/// What a read brought.
#[derive(Debug)]
pub(super) struct ReadOut {
    pub(super) attributes: Option<fattr3>,
    pub(super) data: Bytes,
    pub(super) at_end: bool,
}

/// A server's procedures.
#[derive(Debug)]
pub(super) struct Nfs {
    pub(super) rpc: RpcClient,
}

impl Nfs {
    async fn ask<R: Unpack, E: Unpack>(
        &self,
        caller: &Caller,
        procedure: NFS_PROGRAM,
        arguments: &impl Pack,
        data: Option<Bytes>,
    ) -> Outcome<R> {
        let mut results = self.answer(caller, procedure, &pack(arguments)?, data).await?;
        match unpack::<Nfs3Result<R, E>>(&mut results)? {
            Nfs3Result::Ok(value) => Ok(value),
            Nfs3Result::Err((status, _)) => Err(Failure::Status(status)),
        }
    }

    /// The results of `procedure`, its status included. "Try again later" is obeyed here.
    async fn answer(
        &self,
        caller: &Caller,
        procedure: NFS_PROGRAM,
        arguments: &[u8],
        data: Option<Bytes>,
    ) -> Outcome<Bytes> {
        let number = Procedure { program: PROGRAM, version: VERSION, number: procedure as u32 };
        let mut pause = FIRST_PAUSE;
        loop {
            let results = self.rpc.call(caller, number, arguments, data.clone()).await?;
            if results.first_chunk() != Some(&(nfsstat3::NFS3ERR_JUKEBOX as u32).to_be_bytes()) {
                return Ok(results);
            }
            caller.wait(sleep(pause)).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    pub(super) async fn attributes(&self, caller: &Caller, handle: &nfs_fh3) -> Outcome<fattr3> {
        let arguments = GETATTR3args { object: handle.clone() };
        let found: GETATTR3resok =
            self.ask::<_, Void>(caller, NFS_PROGRAM::NFSPROC3_GETATTR, &arguments, None).await?;
        Ok(found.obj_attributes)
    }

    pub(super) async fn set_attributes(
        &self,
        caller: &Caller,
        handle: &nfs_fh3,
        attributes: sattr3,
    ) -> Outcome<SETATTR3resok> {
        let arguments =
            SETATTR3args { object: handle.clone(), new_attributes: attributes, guard: Nfs3Option::None };
        self.ask::<_, SETATTR3resfail>(caller, NFS_PROGRAM::NFSPROC3_SETATTR, &arguments, None).await
    }

    pub(super) async fn lookup(
        &self,
        caller: &Caller,
        directory: &nfs_fh3,
        name: &[u8],
    ) -> Outcome<LOOKUP3resok> {
        let arguments = LOOKUP3args { what: named(directory, name) };
        self.ask::<_, LOOKUP3resfail>(caller, NFS_PROGRAM::NFSPROC3_LOOKUP, &arguments, None).await
    }

    pub(super) async fn read_link(&self, caller: &Caller, handle: &nfs_fh3) -> Outcome<Bytes> {
        let arguments = READLINK3args { symlink: handle.clone() };
        let found: READLINK3resok<'_> =
            self.ask::<_, READLINK3resfail>(caller, NFS_PROGRAM::NFSPROC3_READLINK, &arguments, None).await?;
        Ok(found.data.0.into_owned().into())
    }

    /// Reads up to `count` bytes, which are not copied on their way.
    pub(super) async fn read(
        &self,
        caller: &Caller,
        handle: &nfs_fh3,
        offset: u64,
        count: u32,
    ) -> Outcome<ReadOut> {
        let arguments = nfs3_types::nfs3::READ3args { file: handle.clone(), offset, count };
        let packed = pack(&arguments)?;
        let mut results = self.answer(caller, NFS_PROGRAM::NFSPROC3_READ, &packed, None).await?;
        let status: nfsstat3 = unpack(&mut results)?;
        let attributes = some(unpack::<post_op_attr>(&mut results)?);
        if status != nfsstat3::NFS3_OK {
            return Err(Failure::Status(status));
        }
        let (_count, at_end): (u32, bool) = (unpack(&mut results)?, unpack(&mut results)?);
        let length: u32 = unpack(&mut results)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > results.len() || length > usize::try_from(count).unwrap_or(usize::MAX) {
            return Err(RpcError::Garbled("more was read than asked for or sent".to_owned()).into());
        }
        Ok(ReadOut { attributes, data: results.split_to(length), at_end })
    }

    pub(super) async fn write(
        &self,
        caller: &Caller,
        handle: &nfs_fh3,
        offset: u64,
        data: Bytes,
        stable: stable_how,
    ) -> Outcome<WRITE3resok> {
        let count =
            u32::try_from(data.len()).map_err(|_| RpcError::Garbled("a write too long".to_owned()))?;
        let arguments = WriteHead { file: handle, offset, count, stable };
        self.ask::<_, WRITE3resfail>(caller, NFS_PROGRAM::NFSPROC3_WRITE, &arguments, Some(data)).await
    }

    pub(super) async fn commit(&self, caller: &Caller, handle: &nfs_fh3) -> Outcome<COMMIT3resok> {
        let arguments = COMMIT3args { file: handle.clone(), offset: 0, count: 0 };
        self.ask::<_, COMMIT3resfail>(caller, NFS_PROGRAM::NFSPROC3_COMMIT, &arguments, None).await
    }

    pub(super) async fn create(
        &self,
        caller: &Caller,
        directory: &nfs_fh3,
        name: &[u8],
        how: createhow3,
    ) -> Outcome<CREATE3resok> {
        let arguments = CREATE3args { where_: named(directory, name), how };
        self.ask::<_, CREATE3resfail>(caller, NFS_PROGRAM::NFSPROC3_CREATE, &arguments, None).await
    }

    pub(super) async fn make_directory(
        &self,
        caller: &Caller,
        directory: &nfs_fh3,
        name: &[u8],
        attributes: sattr3,
    ) -> Outcome<MKDIR3resok> {
        let arguments = MKDIR3args { where_: named(directory, name), attributes };
        self.ask::<_, MKDIR3resfail>(caller, NFS_PROGRAM::NFSPROC3_MKDIR, &arguments, None).await
    }

    pub(super) async fn make_link(
        &self,
        caller: &Caller,
        directory: &nfs_fh3,
        name: &[u8],
        target: &[u8],
        attributes: sattr3,
    ) -> Outcome<SYMLINK3resok> {
        let symlink =
            symlinkdata3 { symlink_attributes: attributes, symlink_data: nfspath3(Opaque::borrowed(target)) };
        let arguments = SYMLINK3args { where_: named(directory, name), symlink };
        self.ask::<_, SYMLINK3resfail>(caller, NFS_PROGRAM::NFSPROC3_SYMLINK, &arguments, None).await
    }

    pub(super) async fn make_node(
        &self,
        caller: &Caller,
        directory: &nfs_fh3,
        name: &[u8],
        what: mknoddata3,
    ) -> Outcome<MKNOD3resok> {
        let arguments = MKNOD3args { where_: named(directory, name), what };
        self.ask::<_, MKNOD3resfail>(caller, NFS_PROGRAM::NFSPROC3_MKNOD, &arguments, None).await
    }

    pub(super) async fn remove(
        &self,
        caller: &Caller,
        directory: &nfs_fh3,
        name: &[u8],
    ) -> Outcome<REMOVE3resok> {
        let arguments = REMOVE3args { object: named(directory, name) };
        self.ask::<_, REMOVE3resfail>(caller, NFS_PROGRAM::NFSPROC3_REMOVE, &arguments, None).await
    }

    pub(super) async fn remove_directory(
        &self,
        caller: &Caller,
        directory: &nfs_fh3,
        name: &[u8],
    ) -> Outcome<RMDIR3resok> {
        let arguments = RMDIR3args { object: named(directory, name) };
        self.ask::<_, RMDIR3resfail>(caller, NFS_PROGRAM::NFSPROC3_RMDIR, &arguments, None).await
    }

    pub(super) async fn rename(
        &self,
        caller: &Caller,
        from: (&nfs_fh3, &[u8]),
        to: (&nfs_fh3, &[u8]),
    ) -> Outcome<RENAME3resok> {
        let arguments = RENAME3args { from: named(from.0, from.1), to: named(to.0, to.1) };
        self.ask::<_, RENAME3resfail>(caller, NFS_PROGRAM::NFSPROC3_RENAME, &arguments, None).await
    }

    pub(super) async fn link(
        &self,
        caller: &Caller,
        file: &nfs_fh3,
        directory: &nfs_fh3,
        name: &[u8],
    ) -> Outcome<LINK3resok> {
        let arguments = LINK3args { file: file.clone(), link: named(directory, name) };
        self.ask::<_, LINK3resfail>(caller, NFS_PROGRAM::NFSPROC3_LINK, &arguments, None).await
    }

    pub(super) async fn list(
        &self,
        caller: &Caller,
        directory: &nfs_fh3,
        from: (u64, cookieverf3),
        size: u32,
    ) -> Outcome<READDIR3resok<'static>> {
        let arguments =
            READDIR3args { dir: directory.clone(), cookie: from.0, cookieverf: from.1, count: size };
        self.ask::<_, READDIR3resfail>(caller, NFS_PROGRAM::NFSPROC3_READDIR, &arguments, None).await
    }

    pub(super) async fn list_with_attributes(
        &self,
        caller: &Caller,
        directory: &nfs_fh3,
        from: (u64, cookieverf3),
        size: u32,
    ) -> Outcome<READDIRPLUS3resok<'static>> {
        let arguments = READDIRPLUS3args {
            dir: directory.clone(),
            cookie: from.0,
            cookieverf: from.1,
            dircount: size,
            maxcount: size,
        };
        self.ask::<_, READDIRPLUS3resfail>(caller, NFS_PROGRAM::NFSPROC3_READDIRPLUS, &arguments, None).await
    }

    pub(super) async fn space(&self, caller: &Caller, root: &nfs_fh3) -> Outcome<FSSTAT3resok> {
        let arguments = FSSTAT3args { fsroot: root.clone() };
        self.ask::<_, FSSTAT3resfail>(caller, NFS_PROGRAM::NFSPROC3_FSSTAT, &arguments, None).await
    }

    pub(super) async fn properties(&self, caller: &Caller, root: &nfs_fh3) -> Outcome<FSINFO3resok> {
        let arguments = FSINFO3args { fsroot: root.clone() };
        self.ask::<_, FSINFO3resfail>(caller, NFS_PROGRAM::NFSPROC3_FSINFO, &arguments, None).await
    }
}

/// Arguments of WRITE up to the data, which goes its own way.
struct WriteHead<'a> {
    file: &'a nfs_fh3,
    offset: u64,
    count: u32,
    stable: stable_how,
}

impl Pack for WriteHead<'_> {
    fn packed_size(&self) -> usize {
        self.file.packed_size() + 16
    }

    fn pack(&self, out: &mut impl std::io::Write) -> nfs3_types::xdr_codec::Result<usize> {
        Ok(self.file.pack(out)? + self.offset.pack(out)? + self.count.pack(out)? + self.stable.pack(out)?)
    }
}
