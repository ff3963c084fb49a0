//! The NFS server from its own side, for the outside.

use std::error::Error as _;
use std::io;

use lab::{ExportCall, ExportEntry, ExportOptions, ExportReply};
use nas_sim::{ContentsError, Entry, ExportError, Kind, NasSim};
use rustix::io::Errno;

/// Does what `call` asks.
pub(super) fn answer(server: &NasSim, call: &ExportCall) -> ExportReply {
    let contents =
        |outcome: Result<ExportReply, ContentsError>| outcome.unwrap_or_else(|error| refused(&error));
    match call {
        ExportCall::Export { path, options } => export(server, path, *options),
        ExportCall::Put { path, content } => {
            contents(server.put(path, content.as_bytes()).map(|()| ExportReply::Done))
        }
        ExportCall::MakeDirectory { path } => {
            contents(server.make_directory(path).map(|()| ExportReply::Done))
        }
        ExportCall::Symlink { path, to } => contents(server.symlink(path, to).map(|()| ExportReply::Done)),
        ExportCall::Get { path } => {
            let text = |bytes: Vec<u8>| ExportReply::Content(String::from_utf8_lossy(&bytes).into_owned());
            contents(server.get(path).map(text))
        }
        ExportCall::Look { path } => {
            let one = server.look(path).and_then(|entry| tell(server, entry));
            contents(one.map(|entry| ExportReply::Entries(vec![entry])))
        }
        ExportCall::List { path } => {
            let all = server.list(path);
            let told = all.and_then(|all| all.into_iter().map(|entry| tell(server, entry)).collect());
            contents(told.map(ExportReply::Entries))
        }
        ExportCall::Delete { path } => contents(server.delete(path).map(|()| ExportReply::Done)),
    }
}

fn export(server: &NasSim, path: &str, options: ExportOptions) -> ExportReply {
    let outcome = match server.set_export(path, options) {
        Err(ExportError::NotFound { .. }) => server.add_export(path, options),
        outcome => outcome,
    };
    match outcome {
        Ok(()) => ExportReply::Done,
        Err(error) => ExportReply::Refused { code: "EINVAL".to_owned(), message: crate::chain(&error) },
    }
}

fn tell(server: &NasSim, entry: Entry) -> Result<ExportEntry, ContentsError> {
    let Entry { path, kind, size, mode, uid, gid } = entry;
    let target = if kind == Kind::Symlink { Some(server.read_link(&path)?) } else { None };
    let kind = match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Other => "other",
    };
    let mode = format!("{mode:04o}");
    Ok(ExportEntry { path, kind: kind.to_owned(), size, mode, uid, gid, target })
}

fn refused(error: &ContentsError) -> ExportReply {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let code = match source.and_then(Errno::from_io_error) {
        Some(Errno::NOENT) => "ENOENT",
        Some(Errno::NOTDIR) => "ENOTDIR",
        Some(Errno::ISDIR) => "EISDIR",
        Some(Errno::EXIST) => "EEXIST",
        Some(Errno::LOOP) => "ELOOP",
        Some(Errno::ACCESS) => "EACCES",
        Some(Errno::NOSPC) => "ENOSPC",
        _ => "EINVAL",
    };
    ExportReply::Refused { code: code.to_owned(), message: crate::chain(error) }
}
