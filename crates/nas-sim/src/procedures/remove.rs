//! Procedures that take entries away or give them other names: REMOVE, RMDIR and RENAME.

use nfs3_types::nfs3::{
    Nfs3Result, REMOVE3args, REMOVE3res, REMOVE3resfail, REMOVE3resok, RENAME3args, RENAME3res,
    RENAME3resfail, RENAME3resok, RMDIR3args, RMDIR3res, RMDIR3resfail, RMDIR3resok, nfsstat3, wcc_data,
};
use rustix::fs::{AtFlags, FileType, Statx};

use super::{Request, wcc};
use crate::attributes::{self, file_type};
use crate::credentials::{Credentials, Wish};
use crate::export::{Object, check_name};
use crate::status::{self, Result};

pub(super) fn remove(request: &Request<'_>, arguments: &REMOVE3args<'static>) -> REMOVE3res {
    let name = arguments.object.name.as_ref();
    let (outcome, dir_wcc) = request.change(&arguments.object.dir, name, |directory, who| {
        check_name(name)?;
        take_away(directory, who, name, AtFlags::empty())
    });
    match outcome {
        Ok(()) => Nfs3Result::Ok(REMOVE3resok { dir_wcc }),
        Err(status) => Nfs3Result::Err((status, REMOVE3resfail { dir_wcc })),
    }
}

pub(super) fn rmdir(request: &Request<'_>, arguments: &RMDIR3args<'static>) -> RMDIR3res {
    let name = arguments.object.name.as_ref();
    let (outcome, dir_wcc) = request.change(&arguments.object.dir, name, |directory, who| {
        match name {
            b"." => return Err(nfsstat3::NFS3ERR_INVAL),
            b".." => return Err(nfsstat3::NFS3ERR_NOTEMPTY),
            name => check_name(name)?,
        }
        take_away(directory, who, name, AtFlags::REMOVEDIR)
    });
    match outcome {
        Ok(()) => Nfs3Result::Ok(RMDIR3resok { dir_wcc }),
        Err(status) => Nfs3Result::Err((status, RMDIR3resfail { dir_wcc })),
    }
}

fn take_away(directory: &Object, who: &Credentials, name: &[u8], flags: AtFlags) -> Result<()> {
    let entry = attributes::of_entry(&directory.file, name).map_err(status::of)?;
    if !who.may_remove(&entry, &directory.stat) {
        return Err(nfsstat3::NFS3ERR_ACCES);
    }
    rustix::fs::unlinkat(&directory.file, name, flags).map_err(status::of)?;
    removed(directory, name, &entry);
    Ok(())
}

/// Forgets an entry, and the file itself where that was its last name.
fn removed(directory: &Object, name: &[u8], entry: &Statx) {
    let export = &directory.export;
    export.tree().forget(entry.stx_ino, directory.stat.stx_ino, name);
    if entry.stx_nlink > 1 && file_type(entry) != FileType::Directory {
        return;
    }
    export.files.close(entry.stx_ino);
    export.unstable.forget(entry.stx_ino);
    export.listings.forget(entry.stx_ino);
    let mut space = export.space();
    if file_type(entry) == FileType::RegularFile {
        space.used = space.used.saturating_sub(entry.stx_size);
    }
}

pub(super) fn rename(request: &Request<'_>, arguments: &RENAME3args<'static, 'static>) -> RENAME3res {
    let (old, new) = (arguments.from.name.as_ref(), arguments.to.name.as_ref());
    let failed =
        |status, fromdir_wcc, todir_wcc| Nfs3Result::Err((status, RENAME3resfail { fromdir_wcc, todir_wcc }));
    let (to, _) = match request.directory_to_change(&arguments.to.dir, new) {
        Ok(found) => found,
        Err(status) => return failed(status, wcc_data::default(), wcc_data::default()),
    };
    let (outcome, fromdir_wcc) = request.change(&arguments.from.dir, old, |from, who| {
        check_name(old)?;
        check_name(new)?;
        if from.export.id != to.export.id {
            return Err(nfsstat3::NFS3ERR_XDEV);
        }
        move_entry(from, old, &to, new, who)
    });
    to.export.listings.forget(to.stat.stx_ino);
    let todir_wcc = wcc(&to);
    match outcome {
        Ok(()) => Nfs3Result::Ok(RENAME3resok { fromdir_wcc, todir_wcc }),
        Err(status) => failed(status, fromdir_wcc, todir_wcc),
    }
}

fn move_entry(from: &Object, old: &[u8], to: &Object, new: &[u8], who: &Credentials) -> Result<()> {
    let entry = attributes::of_entry(&from.file, old).map_err(status::of)?;
    let replaced = attributes::of_entry(&to.file, new).ok();
    let sticky = !who.may_remove(&entry, &from.stat)
        || replaced.as_ref().is_some_and(|replaced| !who.may_remove(replaced, &to.stat));
    // A directory that moves has its `..` changed.
    let moves_directory = file_type(&entry) == FileType::Directory && from.stat.stx_ino != to.stat.stx_ino;
    if sticky || (moves_directory && !who.may(Wish::WRITE, &entry)) {
        return Err(nfsstat3::NFS3ERR_ACCES);
    }
    rustix::fs::renameat(&from.file, old, &to.file, new).map_err(status::of)?;
    if replaced.as_ref().is_some_and(|replaced| replaced.stx_ino == entry.stx_ino) {
        // Two names of one file: both stay.
        return Ok(());
    }
    if let Some(replaced) = &replaced {
        removed(to, new, replaced);
    }
    from.export.tree().forget(entry.stx_ino, from.stat.stx_ino, old);
    to.export.note(&entry, to, new);
    Ok(())
}
