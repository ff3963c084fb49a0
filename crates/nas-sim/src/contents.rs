//! Exports as the server's own administrator sees them: without calls, credentials and faults.
//!
//! No path leads out of an export here either: a symbolic link is never followed.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nfs3_types::nfs3::nfsstat3;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::attributes::{self, file_type};
use crate::export::{Export, Object, check_name};
use crate::server::NasSim;

/// Why something could not be done to the contents of an export.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// No export is at or above the path.
    #[error("no export is at or above {path}")]
    NoExport {
        /// The path.
        path: String,
    },
    /// The path has a component that no file can have, such as `..`.
    #[error("{path} is no path of a file in an export")]
    Path {
        /// The path.
        path: String,
    },
    /// The kernel refused.
    #[error("{action} {path} failed")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// What kind of file it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Something else.
    Other,
}

/// A file in an export.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its path as clients know it: `/share/data/file`.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Its length in bytes.
    pub size: u64,
    /// Its mode, without the kind.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A file named by its export, the directories on the way and its own name.
struct Target<'a> {
    export: Arc<Export>,
    path: &'a str,
    folders: Vec<&'a str>,
    name: Option<&'a str>,
}

impl NasSim {
    /// Writes a file, in place of what it held before; directories on the way are made. What is made is open to
    /// everybody.
    ///
    /// # Errors
    /// [`ContentsError`].
    pub fn put(&self, path: &str, content: &[u8]) -> Result<(), ContentsError> {
        let target = self.target(path)?;
        let failed = |error: Errno| target.failed("writing", error);
        let (folder, name) = target.parent(true)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o666)).map_err(failed)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o666)).map_err(failed)?;
        let inode = attributes::of_file(&file).map_err(failed)?.stx_ino;
        target.export.unstable.settle(inode);
        let mut rest = content;
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest).map_err(failed)?;
            rest = &rest[written..];
        }
        target.changed(&folder);
        Ok(())
    }

    /// What a file holds.
    ///
    /// # Errors
    /// [`ContentsError`], also for what is no regular file.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, ContentsError> {
        let target = self.target(path)?;
        let object = target.object()?;
        if object.file_type() != FileType::RegularFile {
            return Err(target.failed("reading", Errno::INVAL));
        }
        let file = object.open(OFlags::RDONLY).map_err(|status| target.refused("reading", status))?;
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut content)
            .map_err(|source| ContentsError::Failed { action: "reading", path: path.to_owned(), source })?;
        Ok(content)
    }

    /// Makes a directory and those on the way; one that is there is no error. What is made is open to everybody.
    ///
    /// # Errors
    /// [`ContentsError`].
    pub fn make_directory(&self, path: &str) -> Result<(), ContentsError> {
        let target = self.target(path)?;
        let folder = target.folder(true, true)?;
        target.changed(&folder);
        Ok(())
    }

    /// Makes a symbolic link at `path` to whatever `to` says; directories on the way are made.
    ///
    /// # Errors
    /// [`ContentsError`], also where something is there already.
    pub fn symlink(&self, path: &str, to: &str) -> Result<(), ContentsError> {
        let target = self.target(path)?;
        let (folder, name) = target.parent(true)?;
        rustix::fs::symlinkat(to, &folder, name).map_err(|error| target.failed("linking", error))?;
        target.changed(&folder);
        Ok(())
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// [`ContentsError`], also for what is no symbolic link.
    pub fn read_link(&self, path: &str) -> Result<String, ContentsError> {
        let target = self.target(path)?;
        let object = target.object()?;
        let to = rustix::fs::readlinkat(&object.file, "", Vec::new());
        let to = to.map_err(|error| target.failed("reading", error))?;
        Ok(to.to_string_lossy().into_owned())
    }

    /// Everything below a path, sorted by path.
    ///
    /// # Errors
    /// [`ContentsError`], also for what is no directory.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, ContentsError> {
        let target = self.target(path)?;
        let top = target.object()?;
        if top.file_type() != FileType::Directory {
            return Err(target.failed("listing", Errno::NOTDIR));
        }
        let mut entries = Vec::new();
        let mut left = vec![(path.trim_end_matches('/').to_owned(), top)];
        while let Some((folder, object)) = left.pop() {
            let listing = object.export.listings.read(&object.file, &object.stat);
            let listing = listing.map_err(|status| target.refused("listing", status))?;
            for listed in listing.iter() {
                // An entry that went away meanwhile is none.
                let Ok(child) = target.export.child(&object, &listed.name) else { continue };
                let path = format!("{folder}/{}", String::from_utf8_lossy(&listed.name));
                entries.push(entry(path.clone(), &child));
                if child.file_type() == FileType::Directory {
                    left.push((path, child));
                }
            }
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    }

    /// What is at a path.
    ///
    /// # Errors
    /// [`ContentsError`].
    pub fn look(&self, path: &str) -> Result<Entry, ContentsError> {
        Ok(entry(path.to_owned(), &self.target(path)?.object()?))
    }

    /// Removes a file, or a directory with all that is in it.
    ///
    /// # Errors
    /// [`ContentsError`], also for what isn't there.
    pub fn delete(&self, path: &str) -> Result<(), ContentsError> {
        let target = self.target(path)?;
        let (folder, name) = target.parent(false)?;
        remove(&folder, name.as_bytes()).map_err(|error| target.failed("removing", error))?;
        target.changed(&folder);
        Ok(())
    }

    fn target<'a>(&self, path: &'a str) -> Result<Target<'a>, ContentsError> {
        let mut components: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if !path.starts_with('/') || components.iter().any(|part| check_name(part.as_bytes()).is_err()) {
            return Err(ContentsError::Path { path: path.to_owned() });
        }
        let bytes: Vec<&[u8]> = components.iter().map(|part| part.as_bytes()).collect();
        let (export, below) = self
            .state()
            .export_above(&bytes)
            .ok_or_else(|| ContentsError::NoExport { path: path.to_owned() })?;
        let mut folders = components.split_off(components.len() - below.len());
        let name = folders.pop();
        Ok(Target { export, path, folders, name })
    }
}

impl<'a> Target<'a> {
    fn failed(&self, action: &'static str, error: Errno) -> ContentsError {
        ContentsError::Failed { action, path: self.path.to_owned(), source: error.into() }
    }

    fn refused(&self, action: &'static str, status: nfsstat3) -> ContentsError {
        let source = std::io::Error::other(status.to_string());
        ContentsError::Failed { action, path: self.path.to_owned(), source }
    }

    /// The directory that the file is in, and the file's name.
    fn parent(&self, make: bool) -> Result<(OwnedFd, &'a str), ContentsError> {
        // The export itself can't be made, replaced or removed.
        let name = self.name.ok_or_else(|| ContentsError::Path { path: self.path.to_owned() })?;
        Ok((self.folder(make, false)?, name))
    }

    /// The last of the directories on the way, or the file itself as one.
    fn folder(&self, make: bool, whole: bool) -> Result<OwnedFd, ContentsError> {
        let last = self.name.filter(|_| whole);
        let mut at = self.export.top().map_err(|status| self.refused("opening", status))?.file;
        for name in self.folders.iter().copied().chain(last) {
            at = descend(&at, name, make).map_err(|error| self.failed("opening", error))?;
        }
        Ok(at)
    }

    fn object(&self) -> Result<Object, ContentsError> {
        let mut at = self.export.top().map_err(|status| self.refused("opening", status))?;
        for name in self.folders.iter().copied().chain(self.name) {
            let child = self.export.child(&at, name.as_bytes());
            at = child.map_err(|status| match status {
                nfsstat3::NFS3ERR_NOENT => self.failed("opening", Errno::NOENT),
                nfsstat3::NFS3ERR_NOTDIR => self.failed("opening", Errno::NOTDIR),
                status => self.refused("opening", status),
            })?;
        }
        Ok(at)
    }

    /// Brings what the export knows of itself up to date.
    fn changed(&self, folder: &OwnedFd) {
        if let Ok(stat) = attributes::of_file(folder) {
            self.export.listings.forget(stat.stx_ino);
        }
        if self.export.options().capacity_bytes.is_some() {
            self.export.recount();
        }
    }
}

fn entry(path: String, object: &Object) -> Entry {
    let kind = match object.file_type() {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    };
    let stat = &object.stat;
    let mode = u32::from(stat.stx_mode) & 0o7777;
    Entry { path, kind, size: stat.stx_size, mode, uid: stat.stx_uid, gid: stat.stx_gid }
}

fn descend(folder: &OwnedFd, name: &str, make: bool) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Err(Errno::NOENT) if make => {
            rustix::fs::mkdirat(folder, name, Mode::RWXU)?;
            let made = rustix::fs::openat(folder, name, flags, Mode::empty())?;
            rustix::fs::fchmod(&made, Mode::from_raw_mode(0o777))?;
            Ok(made)
        }
        outcome => outcome,
    }
}

fn remove(folder: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    let stat = attributes::of_entry(folder, name)?;
    if file_type(&stat) != FileType::Directory {
        return rustix::fs::unlinkat(folder, name, AtFlags::empty());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&inner)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            remove(&inner, name)?;
        }
    }
    rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)
}
