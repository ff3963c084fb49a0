//! Copying the writable layer of an overlay, which somebody in a container may change meanwhile.
//!
//! The source is walked by descriptors that never follow a link, so that nobody can lead the copy to a file of the machine.
//! The marks of the overlay are copied with the rest: a removed file stays removed, a replaced folder stays replaced.
//! What vanishes on the way is left out; links to mounted storage, sockets and devices always are.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use contract::names::MOUNT_ROOT;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fgetxattr, flistxattr, fstat, lsetxattr, mknodat, open, openat, readlinkat, seek, statat, utimensat,
};
use rustix::io::Errno;

/// Marks that mean something in a lower layer; others of the overlay's belong to the mount that made them.
const MARKS: [&str; 3] = ["overlay.opaque", "overlay.redirect", "overlay.whiteout"];

/// What was copied.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    /// Files, folders and links.
    pub(crate) files: u64,
    /// What files hold, without holes.
    pub(crate) bytes: u64,
}

/// Copies trees. Names of one file in what one copier copies are names of one file in the copy.
#[derive(Debug, Default)]
pub(crate) struct Copier {
    pub(crate) tally: Tally,
    /// Files with several names by device and number: where the copy is.
    seen: HashMap<(u64, u64), PathBuf>,
}

impl Copier {
    /// Copies the folder `from` to `to`, which must not be there.
    pub(crate) fn directory(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let source = open(from, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        self.opened_directory(&source, to)
    }

    fn opened_directory(&mut self, source: &OwnedFd, to: &Path) -> io::Result<()> {
        fs::create_dir(to)?;
        let mut names: Vec<OsString> = Vec::new();
        for entry in Dir::read_from(source)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        for name in names {
            self.entry(source, &name, &to.join(&name))?;
        }
        let status = fstat(source)?;
        copy_marks(source, to)?;
        dress(to, &status)
    }

    fn entry(&mut self, parent: &OwnedFd, name: &OsStr, to: &Path) -> io::Result<()> {
        let Some(status) = unless_gone(statat(parent, name, AtFlags::SYMLINK_NOFOLLOW))? else {
            return Ok(());
        };
        let kind = FileType::from_raw_mode(status.st_mode);
        let number = (status.st_dev, status.st_ino);
        let several = kind != FileType::Directory && status.st_nlink > 1;
        if let Some(first) = self.seen.get(&number).filter(|_| several) {
            fs::hard_link(first, to)?;
            self.tally.files += 1;
            return Ok(());
        }
        let plain = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match kind {
            FileType::Directory => {
                let opened = unless_gone(openat(parent, name, plain | OFlags::DIRECTORY, Mode::empty()))?;
                let Some(source) = opened else { return Ok(()) };
                self.opened_directory(&source, to)?;
            }
            FileType::RegularFile => {
                let opened = unless_gone(openat(parent, name, plain | OFlags::NONBLOCK, Mode::empty()))?;
                let Some(source) = opened else { return Ok(()) };
                let status = fstat(&source)?;
                if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
                    return Ok(()); // it was replaced just now
                }
                let source = File::from(source);
                self.tally.bytes += copy_content(&source, to)?;
                dress(to, &status)?;
                copy_marks(&source, to)?;
            }
            FileType::Symlink => {
                let Some(target) = unless_gone(readlinkat(parent, name, Vec::new()))? else { return Ok(()) };
                if Path::new(OsStr::from_bytes(target.to_bytes())).starts_with(MOUNT_ROOT) {
                    return Ok(());
                }
                symlink(OsStr::from_bytes(target.to_bytes()), to)?;
                chown(to, &status)?;
            }
            // a file of a lower layer that was removed
            FileType::CharacterDevice if status.st_rdev == 0 => {
                mknodat(CWD, to, FileType::CharacterDevice, Mode::empty(), 0)?;
            }
            FileType::Fifo => {
                mknodat(CWD, to, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
                dress(to, &status)?;
            }
            _ => return Ok(()),
        }
        self.tally.files += 1;
        if several {
            self.seen.insert(number, to.to_owned());
        }
        Ok(())
    }
}

/// Nothing for what was removed or replaced since it was listed.
fn unless_gone<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Copies what the file holds; holes stay holes. How many bytes were written.
fn copy_content(source: &File, to: &Path) -> io::Result<u64> {
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let size = source.metadata()?.len();
    let (mut position, mut written) = (0, 0);
    while position < size {
        let begin = match seek(source, rustix::fs::SeekFrom::Data(position)) {
            Ok(begin) if begin < size => begin,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(source, rustix::fs::SeekFrom::Hole(begin))?.min(size);
        let mut part = source;
        part.seek(SeekFrom::Start(begin))?;
        target.seek(SeekFrom::Start(begin))?;
        let copied = io::copy(&mut part.take(end - begin), &mut target)?;
        written += copied;
        if copied < end - begin {
            break; // it was cut off meanwhile
        }
        position = end;
    }
    target.set_len(size)?;
    Ok(written)
}

/// Gives the copy owner, mode and times of the original. What the owner's change takes off the mode comes after it.
fn dress(to: &Path, status: &Stat) -> io::Result<()> {
    chown(to, status)?;
    fs::set_permissions(to, fs::Permissions::from_mode(status.st_mode & 0o7777))?;
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(status.st_atime, i64::try_from(status.st_atime_nsec).unwrap_or(0)),
        last_modification: time(status.st_mtime, i64::try_from(status.st_mtime_nsec).unwrap_or(0)),
    };
    Ok(utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn chown(to: &Path, status: &Stat) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    Ok(chownat(CWD, to, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Copies the extended attributes.
fn copy_marks(source: impl AsFd, to: &Path) -> io::Result<()> {
    let mut names = vec![0_u8; 64 * 1024];
    let length = match flistxattr(&source, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name);
        let of_overlay =
            name.split_once('.').map(|(_, rest)| rest).filter(|rest| rest.starts_with("overlay."));
        if of_overlay.is_some_and(|mark| !MARKS.contains(&mark)) {
            continue;
        }
        let mut value = vec![0_u8; 64 * 1024];
        let length = match fgetxattr(&source, name.as_ref(), &mut value) {
            Ok(length) => length,
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error.into()),
        };
        lsetxattr(to, name.as_ref(), &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}
