//! READDIR and READDIRPLUS.

use nfs3_types::nfs3::{
    Nfs3Option, Nfs3Result, READDIR3args, READDIR3res, READDIR3resfail, READDIR3resok, READDIRPLUS3args,
    READDIRPLUS3res, READDIRPLUS3resfail, READDIRPLUS3resok, cookieverf3, dirlist3, dirlistplus3, entry3,
    entryplus3, nfs_fh3, nfsstat3,
};
use nfs3_types::xdr_codec::{BoundedList, List, Pack};

use super::look::LARGEST;
use super::{Request, post};
use crate::attributes::{self, convert};
use crate::credentials::Wish;
use crate::export::Object;
use crate::listing::{DOT, DOT_DOT, Listed};
use crate::status::{self, Result};

/// What an answer takes besides its entries: the head, the directory's attributes, the verifier, the end.
const AROUND: usize = 24 + 4 + 88 + 8 + 8;

pub(super) fn readdir(request: &Request<'_>, arguments: &READDIR3args) -> READDIR3res<'static> {
    let directory = match readable(request, &arguments.dir) {
        Ok(directory) => directory,
        Err(status) => return Nfs3Result::Err((status, READDIR3resfail::default())),
    };
    let told = page(&directory, arguments.cookie, arguments.count, |listed| entry3 {
        fileid: listed.inode,
        name: listed.name.clone().into(),
        cookie: listed.cookie,
    });
    let dir_attributes = post(&directory);
    match told {
        Ok((entries, eof)) => Nfs3Result::Ok(READDIR3resok {
            dir_attributes,
            cookieverf: cookieverf3::default(),
            reply: dirlist3 { entries, eof },
        }),
        Err(status) => Nfs3Result::Err((status, READDIR3resfail { dir_attributes })),
    }
}

pub(super) fn readdirplus(request: &Request<'_>, arguments: &READDIRPLUS3args) -> READDIRPLUS3res<'static> {
    let directory = match readable(request, &arguments.dir) {
        Ok(directory) => directory,
        Err(status) => return Nfs3Result::Err((status, READDIRPLUS3resfail::default())),
    };
    let told = page(&directory, arguments.cookie, arguments.maxcount, |listed| {
        let mut entry = entryplus3 {
            fileid: listed.inode,
            name: listed.name.clone().into(),
            cookie: listed.cookie,
            name_attributes: Nfs3Option::None,
            name_handle: Nfs3Option::None,
        };
        // An entry that went away meanwhile is told without its attributes; so is what is above the export.
        let is_inside = listed.cookie != DOT_DOT;
        let stat = is_inside.then(|| attributes::of_entry(&directory.file, &listed.name).ok()).flatten();
        if let Some(stat) = stat {
            if listed.cookie > DOT_DOT {
                directory.export.note(&stat, &directory, &listed.name);
            }
            entry.name_attributes = Nfs3Option::Some(convert(&stat, directory.export.id));
            entry.name_handle = Nfs3Option::Some(request.handle(&directory.export, &stat));
        }
        entry
    });
    let dir_attributes = post(&directory);
    match told {
        Ok((entries, eof)) => Nfs3Result::Ok(READDIRPLUS3resok {
            dir_attributes,
            cookieverf: cookieverf3::default(),
            reply: dirlistplus3 { entries, eof },
        }),
        Err(status) => Nfs3Result::Err((status, READDIRPLUS3resfail { dir_attributes })),
    }
}

fn readable(request: &Request<'_>, handle: &nfs_fh3) -> Result<Object> {
    let (object, who) = request.object(handle)?;
    let directory = object.directory()?;
    if who.may(Wish::READ, &directory.stat) { Ok(directory) } else { Err(nfsstat3::NFS3ERR_ACCES) }
}

/// The entries after `cookie`, as many as fit into `room` bytes; says whether they are the last.
fn page<T: Pack>(
    directory: &Object,
    cookie: u64,
    room: u32,
    tell: impl Fn(&Listed) -> T,
) -> Result<(List<T>, bool)> {
    let listing = directory.export.listings.read(&directory.file, &directory.stat)?;
    let room = usize::try_from(room.min(LARGEST)).unwrap_or(0).saturating_sub(AROUND);
    let first = listing.partition_point(|listed| listed.cookie <= cookie);
    let dots = dots(directory, cookie)?;
    let mut entries = BoundedList::new(room);
    let mut is_empty = true;
    for listed in dots.iter().chain(&listing[first..]) {
        if entries.try_push(tell(listed)).is_err() {
            let outcome = (entries.into_inner(), false);
            return if is_empty { Err(nfsstat3::NFS3ERR_TOOSMALL) } else { Ok(outcome) };
        }
        is_empty = false;
    }
    Ok((entries.into_inner(), true))
}

/// The directory itself and the one above, as far as they come after `cookie`. Above the export there is nothing.
fn dots(directory: &Object, cookie: u64) -> Result<Vec<Listed>> {
    let mut entries = Vec::new();
    let own = directory.stat.stx_ino;
    if cookie < DOT {
        entries.push(Listed { cookie: DOT, name: b".".to_vec(), inode: own });
    }
    if cookie < DOT_DOT {
        let above = if directory.export.is_top(&directory.stat) {
            own
        } else {
            attributes::of_entry(&directory.file, b"..").map_err(status::of)?.stx_ino
        };
        entries.push(Listed { cookie: DOT_DOT, name: b"..".to_vec(), inode: above });
    }
    Ok(entries)
}
