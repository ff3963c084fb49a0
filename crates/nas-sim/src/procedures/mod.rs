//! The 22 procedures of NFS version 3 (RFC 1813).

mod contents;
mod create;
mod directory;
mod look;
mod remove;
mod set;

use std::cell::RefCell;
use std::io::Cursor;
use std::sync::Arc;

use lab::ExportAccess as Access;
use nfs3_types::nfs3::{NFS_PROGRAM, Nfs3Result, nfs_fh3, nfsstat3, wcc_data};
use nfs3_types::xdr_codec::{Pack, Unpack, Void};
use rustix::fs::Statx;

use crate::attributes::{self, birth};
use crate::credentials::{Credentials, Wish};
use crate::export::{Export, Object};
use crate::handle::Handle;
use crate::rpc::{self, Refusal};
use crate::server::State;
use crate::status::Result;

/// The program's number.
pub(crate) use nfs3_types::nfs3::PROGRAM;
/// Its version.
pub(crate) use nfs3_types::nfs3::VERSION;

/// Who asks, of whom.
pub(crate) struct Request<'a> {
    pub(crate) state: &'a State,
    pub(crate) credentials: &'a Credentials,
    about: RefCell<Option<About>>,
}

/// What a call is about, for the journal: an inode of an export, and an entry of it.
type About = (Arc<Export>, u64, Vec<u8>);

/// A procedure's answer, ready to be sent.
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    /// How it went; absent where a fault has answered.
    pub(crate) status: Option<nfsstat3>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(state: &'a State, credentials: &'a Credentials) -> Self {
        Self { state, credentials, about: RefCell::new(None) }
    }

    /// The path that the call is about, as far as it got.
    pub(crate) fn subject(&self) -> String {
        let about = self.about.borrow();
        let Some((export, inode, name)) = about.as_ref() else { return String::new() };
        let path = export.path_of(*inode);
        if name.is_empty() {
            return path;
        }
        format!("{}/{}", path.trim_end_matches('/'), String::from_utf8_lossy(name))
    }

    fn about(&self, object: &Object, name: &[u8]) {
        *self.about.borrow_mut() = Some((object.export.clone(), object.stat.stx_ino, name.to_owned()));
    }

    /// The file that a handle names, and the rights that the request has there.
    fn object(&self, handle: &nfs_fh3) -> Result<(Object, Credentials)> {
        let handle = Handle::decode(&handle.data)?;
        if handle.generation != self.state.generation() {
            return Err(nfsstat3::NFS3ERR_STALE);
        }
        let export = self.state.export_of(handle.export).ok_or(nfsstat3::NFS3ERR_STALE)?;
        if export.options().access == Access::Refused {
            return Err(nfsstat3::NFS3ERR_ACCES);
        }
        let credentials = export.squashed(self.credentials);
        let object = export.find(&handle)?;
        self.about(&object, b"");
        Ok((object, credentials))
    }

    /// The same for a change.
    fn object_to_change(&self, handle: &nfs_fh3) -> Result<(Object, Credentials)> {
        let (object, credentials) = self.object(handle)?;
        writable(&object)?;
        Ok((object, credentials))
    }

    /// The same for a change of a directory's entries.
    fn directory_to_change(&self, handle: &nfs_fh3, name: &[u8]) -> Result<(Object, Credentials)> {
        let (object, credentials) = self.object(handle)?;
        let directory = object.directory()?;
        self.about(&directory, name);
        writable(&directory)?;
        if !credentials.may(Wish::CHANGE_ENTRIES, &directory.stat) {
            return Err(nfsstat3::NFS3ERR_ACCES);
        }
        Ok((directory, credentials))
    }

    /// Makes a change in a directory; the second value is what the client learns of the directory itself.
    fn change<T>(
        &self,
        handle: &nfs_fh3,
        name: &[u8],
        change: impl FnOnce(&Object, &Credentials) -> Result<T>,
    ) -> (Result<T>, wcc_data) {
        match self.directory_to_change(handle, name) {
            Err(status) => (Err(status), wcc_data::default()),
            Ok((directory, credentials)) => {
                let outcome = change(&directory, &credentials);
                directory.export.listings.forget(directory.stat.stx_ino);
                (outcome, wcc(&directory))
            }
        }
    }

    /// The handle of a file.
    fn handle(&self, export: &Export, stat: &Statx) -> nfs_fh3 {
        self.state.handle(export, stat).to_fh()
    }
}

impl State {
    /// The handle of a file.
    pub(crate) fn handle(&self, export: &Export, stat: &Statx) -> Handle {
        let (inode, birth) = (stat.stx_ino, birth(stat));
        Handle { generation: self.generation(), export: export.id, inode, birth }
    }
}

fn writable(object: &Object) -> Result<()> {
    match object.export.options().access {
        Access::ReadWrite => Ok(()),
        Access::ReadOnly => Err(nfsstat3::NFS3ERR_ROFS),
        Access::Refused => Err(nfsstat3::NFS3ERR_ACCES),
    }
}

/// What a client learns of a file that a call has changed; its attributes from before are those of `object`.
fn wcc(object: &Object) -> wcc_data {
    attributes::change(&object.stat, &object.file, object.export.id)
}

fn post(object: &Object) -> nfs3_types::nfs3::post_op_attr {
    attributes::after(&object.file, object.export.id)
}

/// The name of a procedure as RFC 1813 writes it, without its prefix.
pub(crate) fn name(procedure: u32) -> &'static str {
    const NAMES: [&str; 22] = [
        "NULL",
        "GETATTR",
        "SETATTR",
        "LOOKUP",
        "ACCESS",
        "READLINK",
        "READ",
        "WRITE",
        "CREATE",
        "MKDIR",
        "SYMLINK",
        "MKNOD",
        "REMOVE",
        "RMDIR",
        "RENAME",
        "LINK",
        "READDIR",
        "READDIRPLUS",
        "FSSTAT",
        "FSINFO",
        "PATHCONF",
        "COMMIT",
    ];
    usize::try_from(procedure).ok().and_then(|index| NAMES.get(index)).copied().unwrap_or("?")
}

/// Carries a procedure out.
pub(crate) fn call(
    request: &Request<'_>,
    id: u32,
    procedure: u32,
    arguments: &[u8],
) -> std::result::Result<Answer, Refusal> {
    use NFS_PROGRAM as P;
    macro_rules! run {
        ($function:path) => {
            finish(id, &$function(request, &read(arguments)?))
        };
    }
    match P::try_from(procedure).map_err(|_| Refusal::Procedure)? {
        P::NFSPROC3_NULL => finish_void(id),
        P::NFSPROC3_GETATTR => run!(look::getattr),
        P::NFSPROC3_SETATTR => run!(set::setattr),
        P::NFSPROC3_LOOKUP => run!(look::lookup),
        P::NFSPROC3_ACCESS => run!(look::access),
        P::NFSPROC3_READLINK => run!(look::readlink),
        P::NFSPROC3_READ => run!(contents::read),
        P::NFSPROC3_WRITE => run!(contents::write),
        P::NFSPROC3_CREATE => run!(create::create),
        P::NFSPROC3_MKDIR => run!(create::mkdir),
        P::NFSPROC3_SYMLINK => run!(create::symlink),
        P::NFSPROC3_MKNOD => run!(create::mknod),
        P::NFSPROC3_REMOVE => run!(remove::remove),
        P::NFSPROC3_RMDIR => run!(remove::rmdir),
        P::NFSPROC3_RENAME => run!(remove::rename),
        P::NFSPROC3_LINK => run!(create::link),
        P::NFSPROC3_READDIR => run!(directory::readdir),
        P::NFSPROC3_READDIRPLUS => run!(directory::readdirplus),
        P::NFSPROC3_FSSTAT => run!(look::fsstat),
        P::NFSPROC3_FSINFO => run!(look::fsinfo),
        P::NFSPROC3_PATHCONF => run!(look::pathconf),
        P::NFSPROC3_COMMIT => run!(contents::commit),
    }
}

/// Reads arguments; all bytes must belong to them.
pub(crate) fn read<T: Unpack>(bytes: &[u8]) -> std::result::Result<T, Refusal> {
    let mut cursor = Cursor::new(bytes);
    let (arguments, _) = T::unpack(&mut cursor).map_err(|_| Refusal::Arguments)?;
    let whole = usize::try_from(cursor.position()) == Ok(bytes.len());
    if whole { Ok(arguments) } else { Err(Refusal::Arguments) }
}

fn finish<T: Pack, E: Pack>(id: u32, result: &Nfs3Result<T, E>) -> std::result::Result<Answer, Refusal> {
    let status = match result {
        Nfs3Result::Ok(_) => nfsstat3::NFS3_OK,
        Nfs3Result::Err((status, _)) => *status,
    };
    let bytes = rpc::answer(id, result).map_err(|_| Refusal::Arguments)?;
    Ok(Answer { bytes, status: Some(status) })
}

fn finish_void(id: u32) -> std::result::Result<Answer, Refusal> {
    let bytes = rpc::answer(id, &Void).map_err(|_| Refusal::Arguments)?;
    Ok(Answer { bytes, status: Some(nfsstat3::NFS3_OK) })
}

/// An answer that carries nothing but an error: what a fault sends in place of the procedure's own.
pub(crate) fn error(id: u32, procedure: u32, status: u32) -> std::result::Result<Answer, Refusal> {
    // Every failure of the protocol is a status and absent attributes; RENAME and LINK have more of them.
    let absent: u32 = match procedure {
        1 => 0,
        2 | 7..=13 | 21 => 2,
        14 => 4,
        15 => 3,
        _ => 1,
    };
    let mut bytes = rpc::answer(id, &status).map_err(|_| Refusal::Arguments)?;
    bytes.extend((0..absent).flat_map(|_| 0_u32.to_be_bytes()));
    Ok(Answer { bytes, status: None })
}
