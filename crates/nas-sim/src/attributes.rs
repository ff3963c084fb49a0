//! Attributes of files, from the kernel's form to the protocol's.

use std::os::fd::AsFd;

use nfs3_types::nfs3::{
    Nfs3Option, fattr3, ftype3, nfstime3, post_op_attr, pre_op_attr, specdata3, wcc_attr, wcc_data,
};
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp};

/// What is asked of the kernel.
const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// Attributes of an open file.
pub(crate) fn of_file(file: impl AsFd) -> rustix::io::Result<Statx> {
    rustix::fs::statx(file, "", AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW, WANTED)
}

/// Attributes of an entry of a directory; of the link itself where it is one.
pub(crate) fn of_entry(directory: impl AsFd, name: &[u8]) -> rustix::io::Result<Statx> {
    rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, WANTED)
}

/// What kind of file it is.
pub(crate) fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(u32::from(stat.stx_mode))
}

/// When the inode was born, in nanoseconds since 1970; 0 where the file system doesn't know.
pub(crate) fn birth(stat: &Statx) -> u64 {
    if stat.stx_mask & StatxFlags::BTIME.bits() == 0 {
        return 0;
    }
    let seconds = u64::try_from(stat.stx_btime.tv_sec).unwrap_or(0);
    seconds.wrapping_mul(1_000_000_000).wrapping_add(u64::from(stat.stx_btime.tv_nsec))
}

/// The protocol's form; `export` tells files of different exports apart.
pub(crate) fn convert(stat: &Statx, export: u64) -> fattr3 {
    let type_ = match file_type(stat) {
        FileType::Directory => ftype3::NF3DIR,
        FileType::Symlink => ftype3::NF3LNK,
        FileType::BlockDevice => ftype3::NF3BLK,
        FileType::CharacterDevice => ftype3::NF3CHR,
        FileType::Socket => ftype3::NF3SOCK,
        FileType::Fifo => ftype3::NF3FIFO,
        _ => ftype3::NF3REG,
    };
    fattr3 {
        type_,
        mode: u32::from(stat.stx_mode) & 0o7777,
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        size: stat.stx_size,
        used: stat.stx_blocks * 512,
        rdev: specdata3 { specdata1: stat.stx_rdev_major, specdata2: stat.stx_rdev_minor },
        fsid: export,
        fileid: stat.stx_ino,
        atime: time(stat.stx_atime),
        mtime: time(stat.stx_mtime),
        ctime: time(stat.stx_ctime),
    }
}

/// A point in time; the protocol ends in 2106.
pub(crate) fn time(time: StatxTimestamp) -> nfstime3 {
    nfstime3 { seconds: u32::try_from(time.tv_sec.max(0)).unwrap_or(u32::MAX), nseconds: time.tv_nsec }
}

/// Attributes that come along with an answer, where they could be read.
pub(crate) fn after(file: impl AsFd, export: u64) -> post_op_attr {
    of_file(file).map_or(Nfs3Option::None, |stat| Nfs3Option::Some(convert(&stat, export)))
}

/// What a client needs to tell its own change from somebody else's.
pub(crate) fn change(before: &Statx, file: impl AsFd, export: u64) -> wcc_data {
    wcc_data { before: pre(before), after: after(file, export) }
}

fn pre(stat: &Statx) -> pre_op_attr {
    Nfs3Option::Some(wcc_attr {
        size: stat.stx_size,
        mtime: time(stat.stx_mtime),
        ctime: time(stat.stx_ctime),
    })
}
