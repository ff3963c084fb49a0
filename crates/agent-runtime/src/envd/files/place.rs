//! Making room for a file: its parents, the file itself, and whose they are.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::Path;

use crate::envd::accounts::Account;
use crate::envd::http_error::HttpError;

/// Opens the file at `path` for writing, empty, owned by `account`; missing parents are made.
pub(super) fn open(path: &Path, account: &Account) -> Result<File, HttpError> {
    let failed =
        |problem: &io::Error| HttpError::from_io(&format!("cannot write {}", path.display()), problem);
    if path.is_dir() {
        return Err(HttpError::bad_request(format!("cannot write {}: it is a directory", path.display())));
    }
    if let Some(parent) = path.parent() {
        make_directories(parent, account).map_err(|problem| failed(&problem))?;
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(|problem| failed(&problem))?;
    own(path, account).map_err(|problem| failed(&problem))?;
    Ok(file)
}

/// Makes the directory `path` and its missing parents, owned by `account`. One that is there already stays as it is.
pub(crate) fn make_directories(path: &Path, account: &Account) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directories(parent, account)?;
    }
    match DirBuilder::new().mode(0o755).create(path) {
        Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => {
            // Either somebody else was faster, or a file is in the way.
            return if path.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) };
        }
        outcome => outcome?,
    }
    own(path, account)
}

/// Gives `path` to `account`. A file system without owners, or with fixed ones, is no failure.
pub(crate) fn own(path: &Path, account: &Account) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    if metadata.uid() == account.uid && metadata.gid() == account.gid {
        return Ok(());
    }
    match chown(path, Some(account.uid), Some(account.gid)) {
        Err(problem)
            if matches!(problem.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}
