//! SETATTR, and the attributes that new files begin with.

use nfs3_types::nfs3::{
    Nfs3Option, Nfs3Result, SETATTR3args, SETATTR3res, SETATTR3resfail, SETATTR3resok, nfsstat3, nfstime3,
    sattr3, set_atime, set_mtime,
};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};

use super::{Request, wcc};
use crate::attributes;
use crate::credentials::{Credentials, Wish};
use crate::export::Object;
use crate::status::{self, Result};

pub(super) fn setattr(request: &Request<'_>, arguments: &SETATTR3args) -> SETATTR3res {
    let (object, who) = match request.object_to_change(&arguments.object) {
        Ok(found) => found,
        Err(status) => return Nfs3Result::Err((status, SETATTR3resfail::default())),
    };
    let guard = match arguments.guard {
        Nfs3Option::Some(expected) if attributes::time(object.stat.stx_ctime) != expected => {
            Err(nfsstat3::NFS3ERR_NOT_SYNC)
        }
        _ => Ok(()),
    };
    let outcome = guard.and_then(|()| change(&object, &who, &arguments.new_attributes));
    let obj_wcc = wcc(&object);
    match outcome {
        Ok(()) => Nfs3Result::Ok(SETATTR3resok { obj_wcc }),
        Err(status) => Nfs3Result::Err((status, SETATTR3resfail { obj_wcc })),
    }
}

/// Makes the changes that are asked for: all of them, or none where one isn't allowed.
fn change(object: &Object, who: &Credentials, wanted: &sattr3) -> Result<()> {
    allowed(object, who, wanted)?;
    if let Nfs3Option::Some(size) = wanted.size {
        set_size(object, size)?;
    }
    set_rest(object, wanted)
}

fn allowed(object: &Object, who: &Credentials, wanted: &sattr3) -> Result<()> {
    let stat = &object.stat;
    if wanted.size.is_some() {
        match object.file_type() {
            FileType::RegularFile => {}
            FileType::Directory => return Err(nfsstat3::NFS3ERR_ISDIR),
            _ => return Err(nfsstat3::NFS3ERR_INVAL),
        }
        if !who.may_use(Wish::WRITE, stat) {
            return Err(nfsstat3::NFS3ERR_ACCES);
        }
    }
    let changes_owner = matches!(wanted.uid, Nfs3Option::Some(uid) if uid != stat.stx_uid);
    let changes_group = matches!(wanted.gid, Nfs3Option::Some(gid) if gid != stat.stx_gid);
    let joins_foreign_group = matches!(wanted.gid, Nfs3Option::Some(gid) if !who.is_member(gid));
    let refused = (changes_owner && !who.is_root())
        || (changes_group && !who.is_root() && (!who.owns(stat) || joins_foreign_group))
        || (wanted.mode.is_some() && !who.owns(stat));
    let sets_times = matches!(wanted.atime, set_atime::SET_TO_CLIENT_TIME(_))
        || matches!(wanted.mtime, set_mtime::SET_TO_CLIENT_TIME(_));
    if refused || (sets_times && !who.owns(stat)) {
        return Err(nfsstat3::NFS3ERR_PERM);
    }
    let touches = matches!(wanted.atime, set_atime::SET_TO_SERVER_TIME)
        || matches!(wanted.mtime, set_mtime::SET_TO_SERVER_TIME);
    if touches && !who.owns(stat) && !who.may(Wish::WRITE, stat) {
        return Err(nfsstat3::NFS3ERR_ACCES);
    }
    Ok(())
}

/// Cuts or lengthens a file; `object` has its size from before.
pub(super) fn set_size(object: &Object, size: u64) -> Result<()> {
    if i64::try_from(size).is_err() {
        return Err(nfsstat3::NFS3ERR_FBIG);
    }
    let mut space = object.export.space();
    let before = attributes::of_file(&object.file).map_err(status::of)?.stx_size;
    let more = size.saturating_sub(before);
    if space.fits(more) < more {
        return Err(nfsstat3::NFS3ERR_NOSPC);
    }
    // Cutting a file puts on disk what is left of it: what was written before can't be undone without undoing that.
    object.export.unstable.settle(object.stat.stx_ino);
    rustix::fs::ftruncate(object.open(OFlags::WRONLY)?, size).map_err(status::of)?;
    if space.capacity.is_some() {
        space.used = (space.used + more).saturating_sub(before.saturating_sub(size));
    }
    Ok(())
}

/// Sets everything but the size.
pub(super) fn set_rest(object: &Object, wanted: &sattr3) -> Result<()> {
    let uid = if let Nfs3Option::Some(uid) = wanted.uid { Some(Uid::from_raw(uid)) } else { None };
    let gid = if let Nfs3Option::Some(gid) = wanted.gid { Some(Gid::from_raw(gid)) } else { None };
    if uid.is_some() || gid.is_some() {
        rustix::fs::chownat(&object.file, "", uid, gid, AtFlags::EMPTY_PATH).map_err(status::of)?;
    }
    if let Nfs3Option::Some(mode) = wanted.mode {
        set_mode(object, mode)?;
    }
    let times = Timestamps {
        last_access: match wanted.atime {
            set_atime::DONT_CHANGE => unchanged(),
            set_atime::SET_TO_SERVER_TIME => now(),
            set_atime::SET_TO_CLIENT_TIME(time) => convert(time),
        },
        last_modification: match wanted.mtime {
            set_mtime::DONT_CHANGE => unchanged(),
            set_mtime::SET_TO_SERVER_TIME => now(),
            set_mtime::SET_TO_CLIENT_TIME(time) => convert(time),
        },
    };
    if times.last_access != unchanged() || times.last_modification != unchanged() {
        rustix::fs::utimensat(&object.file, "", &times, AtFlags::EMPTY_PATH).map_err(status::of)?;
    }
    Ok(())
}

/// Sets the mode; that of a symbolic link never matters and is left alone.
pub(super) fn set_mode(object: &Object, mode: u32) -> Result<()> {
    if object.file_type() == FileType::Symlink {
        return Ok(());
    }
    rustix::fs::chmod(object.magic_link(), Mode::from_raw_mode(mode & 0o7777)).map_err(status::of)
}

const fn unchanged() -> Timespec {
    Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }
}

const fn now() -> Timespec {
    Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }
}

fn convert(time: nfstime3) -> Timespec {
    Timespec { tv_sec: i64::from(time.seconds), tv_nsec: i64::from(time.nseconds.min(999_999_999)) }
}
