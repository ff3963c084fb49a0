//! Procedures that only look.

use lab::ExportAccess as Access;
use nfs3_types::nfs3::{
    ACCESS3_DELETE, ACCESS3_EXECUTE, ACCESS3_EXTEND, ACCESS3_LOOKUP, ACCESS3_MODIFY, ACCESS3_READ,
    ACCESS3args, ACCESS3res, ACCESS3resfail, ACCESS3resok, FSF3_CANSETTIME, FSF3_HOMOGENEOUS, FSF3_LINK,
    FSF3_SYMLINK, FSINFO3args, FSINFO3res, FSINFO3resfail, FSINFO3resok, FSSTAT3args, FSSTAT3res,
    FSSTAT3resfail, FSSTAT3resok, GETATTR3args, GETATTR3res, GETATTR3resok, LOOKUP3args, LOOKUP3res,
    LOOKUP3resfail, LOOKUP3resok, Nfs3Result, PATHCONF3args, PATHCONF3res, PATHCONF3resfail, PATHCONF3resok,
    READLINK3args, READLINK3res, READLINK3resfail, READLINK3resok, nfsstat3, nfstime3,
};
use nfs3_types::xdr_codec::Void;
use rustix::fs::FileType;

use super::{Request, post};
use crate::attributes::convert;
use crate::credentials::{Credentials, Wish};
use crate::export::{LONGEST_NAME, Object, check_name};
use crate::status::{self, Result};

/// The most that one READ or WRITE moves.
pub(super) const LARGEST: u32 = 1024 * 1024;

/// The most that one READDIR or READDIRPLUS tells, by preference.
const DIRECTORY_PREFERRED: u32 = 64 * 1024;

pub(super) fn getattr(request: &Request<'_>, arguments: &GETATTR3args) -> GETATTR3res {
    match request.object(&arguments.object) {
        Ok((object, _)) => {
            let obj_attributes = convert(&object.stat, object.export.id);
            Nfs3Result::Ok(GETATTR3resok { obj_attributes })
        }
        Err(status) => Nfs3Result::Err((status, Void)),
    }
}

pub(super) fn lookup(request: &Request<'_>, arguments: &LOOKUP3args<'static>) -> LOOKUP3res {
    let directory = match request.object(&arguments.what.dir) {
        Ok(found) => found,
        Err(status) => return Nfs3Result::Err((status, LOOKUP3resfail::default())),
    };
    let (directory, credentials) = directory;
    let dir_attributes = post(&directory);
    match find(request, &directory, &credentials, arguments.what.name.as_ref()) {
        Ok(object) => Nfs3Result::Ok(LOOKUP3resok {
            object: request.handle(&object.export, &object.stat),
            obj_attributes: post(&object),
            dir_attributes,
        }),
        Err(status) => Nfs3Result::Err((status, LOOKUP3resfail { dir_attributes })),
    }
}

fn find(request: &Request<'_>, directory: &Object, who: &Credentials, name: &[u8]) -> Result<Object> {
    request.about(directory, name);
    if directory.file_type() != FileType::Directory {
        return Err(nfsstat3::NFS3ERR_NOTDIR);
    }
    if !who.may(Wish::EXECUTE, &directory.stat) {
        return Err(nfsstat3::NFS3ERR_ACCES);
    }
    let export = &directory.export;
    match name {
        b"." => again(directory),
        // above the export there is nothing
        b".." if export.is_top(&directory.stat) => export.top(),
        b".." => {
            let parent = rustix::fs::openat(
                &directory.file,
                "..",
                rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            );
            let file = parent.map_err(status::of)?;
            let stat = crate::attributes::of_file(&file).map_err(status::of)?;
            Ok(Object { export: export.clone(), file, stat })
        }
        name => {
            check_name(name)?;
            export.child(directory, name)
        }
    }
}

fn again(object: &Object) -> Result<Object> {
    let file = object.file.try_clone().map_err(|_| nfsstat3::NFS3ERR_JUKEBOX)?;
    let stat = crate::attributes::of_file(&file).map_err(status::of)?;
    Ok(Object { export: object.export.clone(), file, stat })
}

pub(super) fn access(request: &Request<'_>, arguments: &ACCESS3args) -> ACCESS3res {
    match request.object(&arguments.object) {
        Ok((object, who)) => {
            let access = arguments.access & granted(&object, &who);
            Nfs3Result::Ok(ACCESS3resok { obj_attributes: post(&object), access })
        }
        Err(status) => Nfs3Result::Err((status, ACCESS3resfail::default())),
    }
}

fn granted(object: &Object, who: &Credentials) -> u32 {
    let may = |wish| who.may(wish, &object.stat);
    let is_directory = object.file_type() == FileType::Directory;
    let mut granted = 0;
    if may(Wish::READ) {
        granted |= ACCESS3_READ;
    }
    if may(Wish::EXECUTE) {
        granted |= if is_directory { ACCESS3_LOOKUP } else { ACCESS3_EXECUTE };
    }
    if object.export.options().access == Access::ReadWrite {
        if is_directory && may(Wish::CHANGE_ENTRIES) {
            granted |= ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE;
        } else if !is_directory && may(Wish::WRITE) {
            granted |= ACCESS3_MODIFY | ACCESS3_EXTEND;
        }
    }
    granted
}

pub(super) fn readlink(request: &Request<'_>, arguments: &READLINK3args) -> READLINK3res<'static> {
    let object = match request.object(&arguments.symlink) {
        Ok((object, _)) => object,
        Err(status) => return Nfs3Result::Err((status, READLINK3resfail::default())),
    };
    let symlink_attributes = post(&object);
    let target = match object.file_type() {
        FileType::Symlink => rustix::fs::readlinkat(&object.file, "", Vec::new()).map_err(status::of),
        _ => Err(nfsstat3::NFS3ERR_INVAL),
    };
    match target {
        Ok(target) => {
            let data = target.into_bytes().into();
            Nfs3Result::Ok(READLINK3resok { symlink_attributes, data })
        }
        Err(status) => Nfs3Result::Err((status, READLINK3resfail { symlink_attributes })),
    }
}

pub(super) fn fsstat(request: &Request<'_>, arguments: &FSSTAT3args) -> FSSTAT3res {
    let object = match request.object(&arguments.fsroot) {
        Ok((object, _)) => object,
        Err(status) => return Nfs3Result::Err((status, FSSTAT3resfail::default())),
    };
    let obj_attributes = post(&object);
    let below = match rustix::fs::statvfs(object.magic_link()).map_err(status::of) {
        Ok(below) => below,
        Err(status) => return Nfs3Result::Err((status, FSSTAT3resfail { obj_attributes })),
    };
    let space = *object.export.space();
    let all = space.capacity.unwrap_or(below.f_blocks * below.f_frsize);
    let free = space.fits(below.f_bfree * below.f_frsize);
    let available = space.fits(below.f_bavail * below.f_frsize);
    Nfs3Result::Ok(FSSTAT3resok {
        obj_attributes,
        tbytes: all,
        fbytes: free,
        abytes: available,
        tfiles: below.f_files,
        ffiles: below.f_ffree,
        afiles: below.f_favail,
        invarsec: 0,
    })
}

pub(super) fn fsinfo(request: &Request<'_>, arguments: &FSINFO3args) -> FSINFO3res {
    match request.object(&arguments.fsroot) {
        Err(status) => Nfs3Result::Err((status, FSINFO3resfail::default())),
        Ok((object, _)) => Nfs3Result::Ok(FSINFO3resok {
            obj_attributes: post(&object),
            rtmax: LARGEST,
            rtpref: LARGEST,
            rtmult: 4096,
            wtmax: LARGEST,
            wtpref: LARGEST,
            wtmult: 4096,
            dtpref: DIRECTORY_PREFERRED,
            maxfilesize: i64::MAX.unsigned_abs(),
            time_delta: nfstime3 { seconds: 0, nseconds: 1 },
            properties: FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME,
        }),
    }
}

pub(super) fn pathconf(request: &Request<'_>, arguments: &PATHCONF3args) -> PATHCONF3res {
    match request.object(&arguments.object) {
        Err(status) => Nfs3Result::Err((status, PATHCONF3resfail::default())),
        Ok((object, _)) => Nfs3Result::Ok(PATHCONF3resok {
            obj_attributes: post(&object),
            linkmax: 32_000,
            name_max: u32::try_from(LONGEST_NAME).unwrap_or(u32::MAX),
            no_trunc: true,
            chown_restricted: true,
            case_insensitive: false,
            case_preserving: true,
        }),
    }
}
