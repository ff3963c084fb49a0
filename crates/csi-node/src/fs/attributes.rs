//! Attributes of files, and how they are kept with an object.
//!
//! As ossfs does, an object carries `mode`, `uid`, `gid`, `mtime` and `atime` in its user metadata: numbers in
//! decimal, times in seconds with an optional fraction. An object that another tool wrote has none of these and
//! shows as 0640 (a directory as 0750), owned by root, as old as its last modification. The mount options `umask`,
//! `uid` and `gid` override what is shown, and change nothing that is stored.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo};
use jiff::Timestamp;

use crate::s3::{Metadata, ObjectInfo};

/// Mode of a file that carries none.
const DEFAULT_FILE_MODE: u32 = 0o640;
/// Mode of a directory that carries none.
const DEFAULT_DIRECTORY_MODE: u32 = 0o750;
/// Permission bits and set-id bits.
pub(super) const PERMISSIONS: u32 = 0o7777;

const TYPE_MASK: u32 = 0o170_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;

/// Block size that is reported, in bytes.
const BLOCK: u32 = 4096;

const OWN_NAMES: [&str; 5] = ["mode", "uid", "gid", "mtime", "atime"];

/// Media type of an object that is a directory.
pub(super) const DIRECTORY_CONTENT: &str = "application/x-directory";
/// Media type of every other object.
pub(super) const FILE_CONTENT: &str = "application/octet-stream";

/// What a name stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A directory, with or without an object of its own.
    Directory,
    /// A symbolic link: an object whose content is the target.
    Link,
}

impl Kind {
    /// The same for the kernel.
    pub(super) fn file_type(self) -> FileType {
        match self {
            Self::File => FileType::RegularFile,
            Self::Directory => FileType::Directory,
            Self::Link => FileType::Symlink,
        }
    }

    fn bits(self) -> u32 {
        match self {
            Self::File => TYPE_FILE,
            Self::Directory => TYPE_DIRECTORY,
            Self::Link => TYPE_LINK,
        }
    }
}

/// The attributes of one file, directory or link, as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stat {
    /// What it is.
    pub(super) kind: Kind,
    /// Length in bytes.
    pub(super) size: u64,
    /// Permission bits.
    pub(super) mode: u32,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
    /// Last change of the content.
    pub(super) mtime: Timestamp,
    /// Last access, as far as it was ever set.
    pub(super) atime: Timestamp,
    /// Version tag of the object, "" where there is none.
    pub(super) etag: String,
    /// Media type of the object.
    pub(super) content_type: String,
    /// Metadata that others attached; it is kept.
    pub(super) foreign: Metadata,
}

impl Stat {
    /// Something that is being made now.
    pub(super) fn new(kind: Kind, mode: u32, uid: u32, gid: u32, now: Timestamp) -> Self {
        let content_type = if kind == Kind::Directory { DIRECTORY_CONTENT } else { FILE_CONTENT };
        Self {
            kind,
            size: 0,
            mode: mode & PERMISSIONS,
            uid,
            gid,
            mtime: now,
            atime: now,
            etag: String::new(),
            content_type: content_type.into(),
            foreign: Metadata::new(),
        }
    }

    /// A directory that exists only because keys begin with its name.
    pub(super) fn implied_directory(now: Timestamp) -> Self {
        Self::new(Kind::Directory, DEFAULT_DIRECTORY_MODE, 0, 0, now)
    }

    /// What the object behind a name tells; `marker` if its key ends with a slash.
    pub(super) fn of_object(info: &ObjectInfo, marker: bool) -> Self {
        let number = |name: &str| info.metadata.get(name).and_then(|text| text.trim().parse::<u32>().ok());
        let time = |name: &str| info.metadata.get(name).and_then(|text| parse_time(text));
        let stored = number("mode");
        let kind = match stored.map(|mode| mode & TYPE_MASK) {
            _ if marker => Kind::Directory,
            Some(TYPE_LINK) => Kind::Link,
            _ => Kind::File,
        };
        let default = if marker { DEFAULT_DIRECTORY_MODE } else { DEFAULT_FILE_MODE };
        let mtime = time("mtime").unwrap_or(info.modified);
        Self {
            kind,
            size: if marker { 0 } else { info.size },
            mode: stored.unwrap_or(default) & PERMISSIONS,
            uid: number("uid").unwrap_or(0),
            gid: number("gid").unwrap_or(0),
            mtime,
            atime: time("atime").unwrap_or(mtime),
            etag: info.etag.clone(),
            content_type: info.content_type.clone(),
            foreign: info
                .metadata
                .iter()
                .filter(|(name, _)| !OWN_NAMES.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }

    /// The user metadata that keeps these attributes.
    pub(super) fn metadata(&self) -> Metadata {
        let mut metadata = self.foreign.clone();
        metadata.insert("mode".into(), (self.kind.bits() | self.mode).to_string());
        metadata.insert("uid".into(), self.uid.to_string());
        metadata.insert("gid".into(), self.gid.to_string());
        metadata.insert("mtime".into(), print_time(self.mtime));
        metadata.insert("atime".into(), print_time(self.atime));
        metadata
    }

    /// What the kernel is told about inode `ino`.
    pub(super) fn for_kernel(&self, ino: u64, shown: &Shown) -> FileAttr {
        // A directory shows no size, as with ossfs.
        let size = if self.kind == Kind::Directory { 0 } else { self.size };
        let mode = shown.umask.map_or(self.mode, |umask| 0o777 & !umask);
        FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: system_time(self.atime),
            mtime: system_time(self.mtime),
            ctime: system_time(self.mtime),
            crtime: system_time(self.mtime),
            kind: self.kind.file_type(),
            perm: u16::try_from(mode & PERMISSIONS).unwrap_or(0),
            nlink: 1,
            uid: shown.uid.unwrap_or(self.uid),
            gid: shown.gid.unwrap_or(self.gid),
            rdev: 0,
            blksize: BLOCK,
            flags: 0,
        }
    }
}

/// Attributes that the mount options put in the place of the stored ones.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Shown {
    /// Everything shows the mode `0777 & !umask`.
    pub umask: Option<u32>,
    /// Everything belongs to this user.
    pub uid: Option<u32>,
    /// Everything belongs to this group.
    pub gid: Option<u32>,
}

/// `time` as the kernel wants it; a time before 1970 as 1970.
pub(super) fn system_time(time: Timestamp) -> SystemTime {
    let since = time.duration_since(Timestamp::UNIX_EPOCH);
    SystemTime::UNIX_EPOCH + Duration::try_from(since).unwrap_or(Duration::ZERO)
}

/// A time of the kernel's; one before 1970 as 1970.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| jiff::SignedDuration::try_from(since).ok())
        .and_then(|since| Timestamp::UNIX_EPOCH.checked_add(since).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

fn print_time(time: Timestamp) -> String {
    let nanoseconds = time.subsec_nanosecond();
    if nanoseconds == 0 {
        time.as_second().to_string()
    } else {
        format!("{}.{nanoseconds:09}", time.as_second())
    }
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: i32 = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn info(metadata: &[(&str, &str)]) -> ObjectInfo {
        ObjectInfo {
            size: 7,
            etag: "\"e\"".into(),
            modified: "2026-01-02T03:04:05Z".parse().expect("a time"),
            content_type: String::new(),
            metadata: metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        }
    }

    #[rstest]
    #[case::foreign_file(&[], false, Kind::File, 0o640)]
    #[case::foreign_directory(&[], true, Kind::Directory, 0o750)]
    #[case::file(&[("mode", "33188")], false, Kind::File, 0o644)]
    #[case::file_without_type(&[("mode", "420")], false, Kind::File, 0o644)]
    #[case::directory(&[("mode", "16877")], true, Kind::Directory, 0o755)]
    #[case::link(&[("mode", "41471")], false, Kind::Link, 0o777)]
    #[case::nonsense(&[("mode", "rw")], false, Kind::File, 0o640)]
    fn kind_and_mode(
        #[case] metadata: &[(&str, &str)],
        #[case] marker: bool,
        #[case] kind: Kind,
        #[case] mode: u32,
    ) {
        let stat = Stat::of_object(&info(metadata), marker);
        assert_eq!((stat.kind, stat.mode), (kind, mode));
    }

    #[test]
    fn attributes_survive_the_way_through_metadata() {
        let mut stat =
            Stat::new(Kind::File, 0o4711, 7, 8, "2026-05-06T07:08:09.000000012Z".parse().expect("a time"));
        stat.foreign.insert("colour".into(), "red".into());
        let again = Stat::of_object(&ObjectInfo { metadata: stat.metadata(), ..info(&[]) }, false);
        assert_eq!(again.metadata(), stat.metadata());
        assert_eq!((again.mode, again.uid, again.gid, again.mtime), (0o4711, 7, 8, stat.mtime));
    }

    #[rstest]
    #[case("1700000000", Some((1_700_000_000, 0)))]
    #[case("1700000000.5", Some((1_700_000_000, 500_000_000)))]
    #[case("1700000000.000000001", Some((1_700_000_000, 1)))]
    #[case("1700000000.x", None)]
    #[case("", None)]
    fn times(#[case] text: &str, #[case] expected: Option<(i64, i32)>) {
        let time = parse_time(text).map(|time| (time.as_second(), time.subsec_nanosecond()));
        assert_eq!(time, expected);
    }

    #[test]
    fn mount_options_override_what_is_shown() {
        let stat = Stat::of_object(&info(&[]), false);
        let shown = Shown { umask: Some(0o022), uid: Some(5), gid: Some(6) };
        let attr = stat.for_kernel(2, &shown);
        assert_eq!((attr.perm, attr.uid, attr.gid, attr.size), (0o755, 5, 6, 7));
        assert_eq!(stat.for_kernel(2, &Shown::default()).perm, 0o640);
    }
}
