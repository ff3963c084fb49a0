//! READ, WRITE and COMMIT.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nfs3_types::nfs3::{
    COMMIT3args, COMMIT3res, COMMIT3resfail, COMMIT3resok, Nfs3Result, READ3args, READ3res, READ3resfail,
    READ3resok, WRITE3args, WRITE3res, WRITE3resfail, WRITE3resok, nfsstat3, stable_how, wcc_data,
    writeverf3,
};
use nfs3_types::xdr_codec::Opaque;
use rustix::fs::{FileType, OFlags};

use super::look::LARGEST;
use super::{Request, post, wcc};
use crate::attributes;
use crate::credentials::{Credentials, Wish};
use crate::export::Object;
use crate::status::{self, Result};

pub(super) fn read(request: &Request<'_>, arguments: &READ3args) -> READ3res<'static> {
    let (object, who) = match request.object(&arguments.file) {
        Ok(found) => found,
        Err(status) => return Nfs3Result::Err((status, READ3resfail::default())),
    };
    let outcome = usable(&object, &who, Wish::READ)
        .and_then(|()| opened(&object))
        .and_then(|file| read_at(&file, arguments.offset, arguments.count.min(LARGEST)));
    let file_attributes = post(&object);
    match outcome {
        Ok((data, eof)) => Nfs3Result::Ok(READ3resok {
            file_attributes,
            count: u32::try_from(data.len()).unwrap_or(LARGEST),
            eof,
            data: Opaque::owned(data),
        }),
        Err(status) => Nfs3Result::Err((status, READ3resfail { file_attributes })),
    }
}

/// Up to `count` bytes, fewer only at the end; says whether they reach it.
fn read_at(file: &OwnedFd, offset: u64, count: u32) -> Result<(Vec<u8>, bool)> {
    let size = attributes::of_file(file).map_err(status::of)?.stx_size;
    let length = u64::from(count).min(size.saturating_sub(offset));
    let mut data = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut done = 0;
    while done < data.len() {
        let at = offset + u64::try_from(done).unwrap_or(u64::MAX);
        let got = rustix::io::pread(file, &mut data[done..], at).map_err(status::of)?;
        if got == 0 {
            break;
        }
        done += got;
    }
    data.truncate(done);
    let end = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
    Ok((data, end >= size))
}

pub(super) fn write(request: &Request<'_>, arguments: &WRITE3args<'static>) -> WRITE3res {
    let (object, who) = match request.object_to_change(&arguments.file) {
        Ok(found) => found,
        Err(status) => return Nfs3Result::Err((status, WRITE3resfail::default())),
    };
    let count = usize::try_from(arguments.count.min(LARGEST)).unwrap_or(0).min(arguments.data.len());
    let outcome = usable(&object, &who, Wish::WRITE).and_then(|()| opened(&object)).and_then(|file| {
        write_at(&object, &file, arguments.offset, &arguments.data[..count], arguments.stable)
    });
    let file_wcc = wcc(&object);
    match outcome {
        Ok(written) => Nfs3Result::Ok(WRITE3resok {
            file_wcc,
            count: u32::try_from(written).unwrap_or(LARGEST),
            committed: arguments.stable,
            verf: verifier(request),
        }),
        Err(status) => Nfs3Result::Err((status, WRITE3resfail { file_wcc })),
    }
}

/// Writes what fits; the rest of a full export's last write is for the client to try again, which tells it so.
fn write_at(
    object: &Object,
    file: &Arc<OwnedFd>,
    offset: u64,
    data: &[u8],
    stable: stable_how,
) -> Result<usize> {
    let wanted = u64::try_from(data.len()).unwrap_or(u64::MAX);
    let end = offset.checked_add(wanted).filter(|end| i64::try_from(*end).is_ok());
    let end = end.ok_or(nfsstat3::NFS3ERR_FBIG)?;
    let mut space = object.export.space();
    if space.capacity.is_none() {
        drop(space);
        return store(object, file, offset, data, stable);
    }
    let before = attributes::of_file(file).map_err(status::of)?.stx_size;
    let last = if end > before { before + space.fits(end - before) } else { end };
    let fits = usize::try_from(last.saturating_sub(offset)).unwrap_or(0);
    if fits == 0 && !data.is_empty() {
        return Err(nfsstat3::NFS3ERR_NOSPC);
    }
    let written = store(object, file, offset, &data[..fits], stable)?;
    let after = attributes::of_file(file).map_err(status::of)?.stx_size;
    space.used += after.saturating_sub(before);
    Ok(written)
}

fn store(
    object: &Object,
    file: &Arc<OwnedFd>,
    offset: u64,
    data: &[u8],
    stable: stable_how,
) -> Result<usize> {
    let unstable = &object.export.unstable;
    let inode = object.stat.stx_ino;
    let written = unstable.write((inode, file), offset, data.len(), || put(file, offset, data))?;
    match stable {
        stable_how::UNSTABLE => return Ok(written),
        stable_how::DATA_SYNC => rustix::fs::fdatasync(file).map_err(status::of)?,
        stable_how::FILE_SYNC => rustix::fs::fsync(file).map_err(status::of)?,
    }
    unstable.settle(inode);
    Ok(written)
}

fn put(file: &OwnedFd, offset: u64, data: &[u8]) -> Result<usize> {
    let mut done = 0;
    while done < data.len() {
        let at = offset + u64::try_from(done).unwrap_or(u64::MAX);
        match rustix::io::pwrite(file, &data[done..], at) {
            Ok(written) => done += written,
            Err(error) if done == 0 => return Err(status::of(error)),
            Err(_) => break,
        }
    }
    Ok(done)
}

pub(super) fn commit(request: &Request<'_>, arguments: &COMMIT3args) -> COMMIT3res {
    let (object, who) = match request.object_to_change(&arguments.file) {
        Ok(found) => found,
        Err(status) => return Nfs3Result::Err((status, COMMIT3resfail { file_wcc: wcc_data::default() })),
    };
    let outcome = usable(&object, &who, Wish::WRITE)
        .and_then(|()| opened(&object))
        .and_then(|file| rustix::fs::fsync(&file).map_err(status::of))
        .inspect(|()| object.export.unstable.settle(object.stat.stx_ino));
    let file_wcc = wcc(&object);
    match outcome {
        Ok(()) => Nfs3Result::Ok(COMMIT3resok { file_wcc, verf: verifier(request) }),
        Err(status) => Nfs3Result::Err((status, COMMIT3resfail { file_wcc })),
    }
}

fn verifier(request: &Request<'_>) -> writeverf3 {
    writeverf3(request.state.verifier())
}

fn usable(object: &Object, who: &Credentials, wish: Wish) -> Result<()> {
    match object.file_type() {
        FileType::RegularFile if who.may_use(wish, &object.stat) => Ok(()),
        FileType::RegularFile => Err(nfsstat3::NFS3ERR_ACCES),
        FileType::Directory => Err(nfsstat3::NFS3ERR_ISDIR),
        _ => Err(nfsstat3::NFS3ERR_INVAL),
    }
}

fn opened(object: &Object) -> Result<Arc<OwnedFd>> {
    object.export.files.get(object.stat.stx_ino, || object.open(OFlags::RDWR))
}
