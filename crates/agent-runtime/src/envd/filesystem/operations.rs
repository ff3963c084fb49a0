//! The unary calls that look at the file system or change it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::entry;
use super::messages::{EntriesResponse, EntryInfo, EntryResponse, ListDirRequest, MoveRequest};
use crate::envd::accounts::{Account, Accounts};
use crate::envd::connect::{Code, RpcError};
use crate::envd::files::place::make_directories;

/// The file system as one account sees it.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) account: Account,
    pub(crate) accounts: Accounts,
    /// The directory meant by an empty path.
    pub(crate) workdir: Option<PathBuf>,
}

impl View {
    /// The absolute path meant by `path`.
    pub(super) fn resolve(&self, path: &str) -> Result<PathBuf, RpcError> {
        Ok(crate::envd::paths::resolve(path, &self.account, self.workdir.as_deref())?)
    }

    fn entry(&self, path: &Path) -> Result<EntryInfo, RpcError> {
        entry::read(path, &self.accounts).map_err(|problem| failed("look at", path, &problem))
    }

    pub(super) fn stat(&self, path: &str) -> Result<EntryResponse, RpcError> {
        let entry = self.entry(&self.resolve(path)?)?;
        Ok(EntryResponse { entry })
    }

    pub(super) fn make_dir(&self, path: &str) -> Result<EntryResponse, RpcError> {
        let path = self.resolve(path)?;
        let shown = path.display();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(RpcError::new(Code::AlreadyExists, format!("directory {shown} exists already")));
            }
            Ok(_) => {
                return Err(RpcError::new(
                    Code::InvalidArgument,
                    format!("{shown} exists and is no directory"),
                ));
            }
            Err(_) => {}
        }
        make_directories(&path, &self.account)
            .map_err(|problem| failed("make directory", &path, &problem))?;
        Ok(EntryResponse { entry: self.entry(&path)? })
    }

    pub(super) fn rename(&self, request: &MoveRequest) -> Result<EntryResponse, RpcError> {
        let (source, destination) = (self.resolve(&request.source)?, self.resolve(&request.destination)?);
        self.entry(&source)?;
        if let Some(parent) = destination.parent() {
            make_directories(parent, &self.account)
                .map_err(|problem| failed("make directory", parent, &problem))?;
        }
        let what = format!("cannot move {} to {}", source.display(), destination.display());
        fs::rename(&source, &destination).map_err(|problem| RpcError::from_io(&what, &problem))?;
        Ok(EntryResponse { entry: self.entry(&destination)? })
    }

    /// Removes whatever is there; nothing there is fine.
    pub(super) fn remove(&self, path: &str) -> Result<(), RpcError> {
        let path = self.resolve(path)?;
        let removed = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(problem) => Err(problem),
        };
        match removed {
            Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path, &problem))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn list_dir(&self, request: &ListDirRequest) -> Result<EntriesResponse, RpcError> {
        let path = self.resolve(&request.path)?;
        let metadata = fs::metadata(&path).map_err(|problem| failed("list", &path, &problem))?;
        if !metadata.is_dir() {
            let text = format!("cannot list {}: it is no directory", path.display());
            return Err(RpcError::new(Code::InvalidArgument, text));
        }
        let mut entries = Vec::new();
        self.walk(&path, request.depth.max(1), &mut entries)
            .map_err(|problem| failed("list", &path, &problem))?;
        Ok(EntriesResponse { entries })
    }

    /// Adds what is in `directory`, in lexical order, each directory followed by what is in it. What vanishes in the
    /// meantime is left out; links are not followed.
    fn walk(&self, directory: &Path, depth: u32, entries: &mut Vec<EntryInfo>) -> io::Result<()> {
        let mut names =
            fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for path in names.into_iter().map(|name| directory.join(name)) {
            let entry = match entry::read(&path, &self.accounts) {
                Err(problem) if problem.kind() == io::ErrorKind::NotFound => continue,
                entry => entry?,
            };
            let descend = depth > 1 && !entry.is_symlink && path.is_dir();
            entries.push(entry);
            if !descend {
                continue;
            }
            match self.walk(&path, depth - 1, entries) {
                Err(problem) if problem.kind() == io::ErrorKind::NotFound => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }
}

pub(super) fn failed(action: &str, path: &Path, problem: &io::Error) -> RpcError {
    RpcError::from_io(&format!("cannot {action} {}", path.display()), problem)
}
