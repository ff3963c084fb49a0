//! Procedures that make entries: CREATE, MKDIR, SYMLINK, LINK and MKNOD.

use nfs3_types::nfs3::{
    CREATE3args, CREATE3res, CREATE3resfail, CREATE3resok, LINK3args, LINK3res, LINK3resfail, LINK3resok,
    MKDIR3args, MKDIR3res, MKDIR3resfail, MKDIR3resok, MKNOD3args, MKNOD3res, MKNOD3resfail, Nfs3Option,
    Nfs3Result, SYMLINK3args, SYMLINK3res, SYMLINK3resfail, SYMLINK3resok, createhow3, createverf3, nfsstat3,
    nfstime3, post_op_attr, sattr3, set_atime, set_mtime, wcc_data,
};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::{Request, post, set};
use crate::attributes;
use crate::credentials::{Credentials, Wish};
use crate::export::{Object, check_name};
use crate::status::{self, Result};

/// The mode of a new file where the client gives none.
const FILE_MODE: u32 = 0o644;
/// The same for a directory.
const DIRECTORY_MODE: u32 = 0o755;

pub(super) fn create(request: &Request<'_>, arguments: &CREATE3args<'static>) -> CREATE3res {
    let name = arguments.where_.name.as_ref();
    let (outcome, dir_wcc) = request.change(&arguments.where_.dir, name, |directory, who| {
        check_name(name)?;
        match &arguments.how {
            createhow3::UNCHECKED(wanted) => match new_file(directory, who, name, wanted) {
                Err(nfsstat3::NFS3ERR_EXIST) => existing_file(directory, who, name, wanted),
                outcome => outcome,
            },
            createhow3::GUARDED(wanted) => new_file(directory, who, name, wanted),
            createhow3::EXCLUSIVE(verifier) => exclusive_file(directory, who, name, *verifier),
        }
    });
    match outcome {
        Ok(object) => {
            let (obj, obj_attributes) = told(request, &object);
            Nfs3Result::Ok(CREATE3resok { obj, obj_attributes, dir_wcc })
        }
        Err(status) => Nfs3Result::Err((status, CREATE3resfail { dir_wcc })),
    }
}

fn new_file(directory: &Object, who: &Credentials, name: &[u8], wanted: &sattr3) -> Result<Object> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&directory.file, name, flags, Mode::RUSR | Mode::WUSR);
    drop(made.map_err(status::of)?);
    let finished = finish(directory, who, name, wanted, FILE_MODE).and_then(|object| {
        if let Nfs3Option::Some(size) = wanted.size {
            set::set_size(&object, size)?;
        }
        Ok(object)
    });
    finished.inspect_err(|_| undo(directory, name, AtFlags::empty()))
}

/// CREATE of a file that is there: opened, and cut where a size is given.
fn existing_file(directory: &Object, who: &Credentials, name: &[u8], wanted: &sattr3) -> Result<Object> {
    let object = directory.export.child(directory, name)?;
    if object.file_type() != FileType::RegularFile {
        return Err(nfsstat3::NFS3ERR_EXIST);
    }
    if let Nfs3Option::Some(size) = wanted.size {
        if !who.may_use(Wish::WRITE, &object.stat) {
            return Err(nfsstat3::NFS3ERR_ACCES);
        }
        set::set_size(&object, size)?;
    }
    Ok(object)
}

/// CREATE that can be repeated: the client's verifier is kept in the times of the new file, which the client sets
/// right afterwards.
fn exclusive_file(
    directory: &Object,
    who: &Credentials,
    name: &[u8],
    verifier: createverf3,
) -> Result<Object> {
    let verifier = u64::from_be_bytes(verifier.0);
    // 31 bits of each half, because not every file system has more
    let half = |shift: u32| {
        let seconds = u32::try_from((verifier >> shift) & 0x7fff_ffff).unwrap_or(0);
        nfstime3 { seconds, nseconds: 0 }
    };
    let (first, second) = (half(32), half(0));
    let wanted = sattr3 {
        atime: set_atime::SET_TO_CLIENT_TIME(first),
        mtime: set_mtime::SET_TO_CLIENT_TIME(second),
        ..sattr3::default()
    };
    match new_file(directory, who, name, &wanted) {
        Err(nfsstat3::NFS3ERR_EXIST) => {}
        outcome => return outcome,
    }
    let object = directory.export.child(directory, name)?;
    let times = (attributes::time(object.stat.stx_atime), attributes::time(object.stat.stx_mtime));
    let same = object.file_type() == FileType::RegularFile && times == (first, second);
    if same { Ok(object) } else { Err(nfsstat3::NFS3ERR_EXIST) }
}

pub(super) fn mkdir(request: &Request<'_>, arguments: &MKDIR3args<'static>) -> MKDIR3res {
    let name = arguments.where_.name.as_ref();
    let (outcome, dir_wcc) = request.change(&arguments.where_.dir, name, |directory, who| {
        check_entry_name(name)?;
        rustix::fs::mkdirat(&directory.file, name, Mode::RWXU).map_err(status::of)?;
        let finished = finish(directory, who, name, &arguments.attributes, DIRECTORY_MODE);
        finished.inspect_err(|_| undo(directory, name, AtFlags::REMOVEDIR))
    });
    match outcome {
        Ok(object) => {
            let (obj, obj_attributes) = told(request, &object);
            Nfs3Result::Ok(MKDIR3resok { obj, obj_attributes, dir_wcc })
        }
        Err(status) => Nfs3Result::Err((status, MKDIR3resfail { dir_wcc })),
    }
}

pub(super) fn symlink(request: &Request<'_>, arguments: &SYMLINK3args<'static>) -> SYMLINK3res {
    let name = arguments.where_.name.as_ref();
    let (outcome, dir_wcc) = request.change(&arguments.where_.dir, name, |directory, who| {
        check_entry_name(name)?;
        let target = arguments.symlink.symlink_data.as_ref();
        rustix::fs::symlinkat(target, &directory.file, name).map_err(status::of)?;
        let finished = finish(directory, who, name, &arguments.symlink.symlink_attributes, 0o777);
        finished.inspect_err(|_| undo(directory, name, AtFlags::empty()))
    });
    match outcome {
        Ok(object) => {
            let (obj, obj_attributes) = told(request, &object);
            Nfs3Result::Ok(SYMLINK3resok { obj, obj_attributes, dir_wcc })
        }
        Err(status) => Nfs3Result::Err((status, SYMLINK3resfail { dir_wcc })),
    }
}

pub(super) fn link(request: &Request<'_>, arguments: &LINK3args<'static>) -> LINK3res {
    let failed = |status, file_attributes, linkdir_wcc| {
        Nfs3Result::Err((status, LINK3resfail { file_attributes, linkdir_wcc }))
    };
    let object = match request.object_to_change(&arguments.file) {
        Ok((object, _)) => object,
        Err(status) => return failed(status, post_op_attr::None, wcc_data::default()),
    };
    let name = arguments.link.name.as_ref();
    let (outcome, linkdir_wcc) = request.change(&arguments.link.dir, name, |directory, _| {
        check_entry_name(name)?;
        if object.file_type() == FileType::Directory {
            return Err(nfsstat3::NFS3ERR_ISDIR);
        }
        if object.export.id != directory.export.id {
            return Err(nfsstat3::NFS3ERR_XDEV);
        }
        let follow = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(CWD, object.magic_link(), &directory.file, name, follow).map_err(status::of)?;
        directory.export.note(&object.stat, directory, name);
        Ok(())
    });
    let file_attributes = post(&object);
    match outcome {
        Ok(()) => Nfs3Result::Ok(LINK3resok { file_attributes, linkdir_wcc }),
        Err(status) => failed(status, file_attributes, linkdir_wcc),
    }
}

/// Devices, sockets and pipes can't be made, as on a NAS.
pub(super) fn mknod(request: &Request<'_>, arguments: &MKNOD3args<'static>) -> MKNOD3res {
    let name = arguments.where_.name.as_ref();
    let change = |_: &Object, _: &Credentials| Err::<(), _>(nfsstat3::NFS3ERR_NOTSUPP);
    let (outcome, dir_wcc) = request.change(&arguments.where_.dir, name, change);
    let status = outcome.err().unwrap_or(nfsstat3::NFS3ERR_NOTSUPP);
    Nfs3Result::Err((status, MKNOD3resfail { dir_wcc }))
}

/// As [`check_name`], but `.` and `..` are names that exist.
fn check_entry_name(name: &[u8]) -> Result<()> {
    if name == b"." || name == b".." { Err(nfsstat3::NFS3ERR_EXIST) } else { check_name(name) }
}

/// Gives a new entry its owner and its attributes.
fn finish(
    directory: &Object,
    who: &Credentials,
    name: &[u8],
    wanted: &sattr3,
    default_mode: u32,
) -> Result<Object> {
    let object = directory.export.child(directory, name)?;
    let keeps_group = u32::from(directory.stat.stx_mode) & 0o2000 != 0;
    let own_group = if keeps_group { directory.stat.stx_gid } else { who.gid };
    // Only root makes files for others.
    let given = |wanted: Nfs3Option<u32>, own: u32| match wanted {
        Nfs3Option::Some(other) if who.is_root() => other,
        _ => own,
    };
    let (uid, gid) = (given(wanted.uid, who.uid), given(wanted.gid, own_group));
    if (uid, gid) != (object.stat.stx_uid, object.stat.stx_gid) {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        match rustix::fs::chownat(&object.file, "", uid, gid, AtFlags::EMPTY_PATH) {
            // No such account: the server runs in a user namespace that has fewer. The file stays the server's own.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(status::of(error)),
        }
    }
    let mode = if let Nfs3Option::Some(mode) = wanted.mode { mode } else { default_mode };
    let inherited = if keeps_group && object.file_type() == FileType::Directory { 0o2000 } else { 0 };
    set::set_mode(&object, mode | inherited)?;
    let times = sattr3 { atime: wanted.atime, mtime: wanted.mtime, ..sattr3::default() };
    set::set_rest(&object, &times)?;
    Ok(object)
}

/// Takes a half-made entry away again.
fn undo(directory: &Object, name: &[u8], flags: AtFlags) {
    if let Err(error) = rustix::fs::unlinkat(&directory.file, name, flags) {
        tracing::warn!(%error, name = %String::from_utf8_lossy(name), "a half-made entry stays");
    }
}

fn told(
    request: &Request<'_>,
    object: &Object,
) -> (nfs3_types::nfs3::post_op_fh3, nfs3_types::nfs3::post_op_attr) {
    (Nfs3Option::Some(request.handle(&object.export, &object.stat)), post(object))
}
