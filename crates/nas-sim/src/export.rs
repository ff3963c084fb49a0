//! An export: a folder whose insides clients see, and whose outside they don't.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use lab::{ExportOptions, Squash};
use nfs3_types::nfs3::nfsstat3;
use rustix::fs::{FileType, Mode, OFlags, Statx};

use crate::attributes::{self, birth, file_type};
use crate::credentials::{Credentials, NOBODY};
use crate::handle::{Handle, stable_hash};
use crate::listing::Listings;
use crate::open_files::OpenFiles;
use crate::status::{self, Result};
use crate::tree::Tree;
use crate::unstable::Unstable;

/// The longest name of an entry, in bytes.
pub(crate) const LONGEST_NAME: usize = 255;

/// Why a folder could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The path isn't one that can be exported.
    #[error("export {path:?} is not an absolute path without `.`, `..` and empty parts")]
    Path {
        /// The path.
        path: String,
    },
    /// Another export is above, below or at this path.
    #[error("export {path} overlaps with export {other}")]
    Overlap {
        /// The path.
        path: String,
        /// The export that is there.
        other: String,
    },
    /// There is no such export.
    #[error("there is no export {path}")]
    NotFound {
        /// The path.
        path: String,
    },
    /// The folder can't be made or opened.
    #[error("the folder of export {path} can't be used")]
    Folder {
        /// The export's path.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// How full an export is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Space {
    pub(crate) capacity: Option<u64>,
    /// Bytes of all files; only counted where there is a capacity.
    pub(crate) used: u64,
}

impl Space {
    /// How much of `wanted` more bytes fits.
    pub(crate) fn fits(&self, wanted: u64) -> u64 {
        self.capacity.map_or(wanted, |capacity| wanted.min(capacity.saturating_sub(self.used)))
    }
}

/// A folder that is offered to clients.
#[derive(Debug)]
pub(crate) struct Export {
    /// Its path as clients know it: `/share`.
    pub(crate) path: String,
    /// Tells its files from those of other exports.
    pub(crate) id: u64,
    pub(crate) listings: Listings,
    pub(crate) files: OpenFiles,
    pub(crate) unstable: Unstable,
    root: OwnedFd,
    options: RwLock<ExportOptions>,
    tree: Mutex<Tree>,
    space: Mutex<Space>,
}

/// A file, held by a descriptor that can't be read or written, with its attributes of a moment ago.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) export: Arc<Export>,
    pub(crate) file: OwnedFd,
    pub(crate) stat: Statx,
}

impl Export {
    /// Exports a folder that exists.
    pub(crate) fn new(path: &str, folder: &Path, options: ExportOptions) -> rustix::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(folder, flags, Mode::empty())?;
        let inode = attributes::of_file(&root)?.stx_ino;
        let export = Self {
            path: path.to_owned(),
            id: stable_hash(path.as_bytes()),
            listings: Listings::default(),
            files: OpenFiles::default(),
            unstable: Unstable::default(),
            root,
            options: RwLock::new(options),
            tree: Mutex::new(Tree::new(inode)),
            space: Mutex::default(),
        };
        export.set_options(options);
        Ok(export)
    }

    pub(crate) fn options(&self) -> ExportOptions {
        *self.options.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_options(&self, options: ExportOptions) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = options;
        self.recount();
    }

    /// Counts again how full it is: after a change of its capacity, and of its files from the server's side.
    pub(crate) fn recount(&self) {
        let mut space = self.space();
        space.capacity = self.options().capacity_bytes;
        space.used = 0;
        if space.capacity.is_some() {
            let mut counted = std::collections::HashSet::new();
            self.walk(&mut |_, _, stat| {
                if file_type(stat) == FileType::RegularFile && counted.insert(stat.stx_ino) {
                    space.used += stat.stx_size;
                }
            });
        }
    }

    /// How full it is. Whoever makes files longer holds this meanwhile, where there is a capacity.
    pub(crate) fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The credentials that a request really has here.
    pub(crate) fn squashed(&self, credentials: &Credentials) -> Credentials {
        match self.options().squash {
            Squash::None => credentials.clone(),
            Squash::All => Credentials::nobody(),
            Squash::Root => {
                let squash = |id: u32| if id == 0 { NOBODY } else { id };
                Credentials {
                    uid: squash(credentials.uid),
                    gid: squash(credentials.gid),
                    groups: credentials.groups.iter().copied().map(squash).collect(),
                }
            }
        }
    }

    /// The export's own folder.
    pub(crate) fn top(self: &Arc<Self>) -> Result<Object> {
        let file = self.root.try_clone().map_err(|_| nfsstat3::NFS3ERR_JUKEBOX)?;
        self.object(file)
    }

    pub(crate) fn is_top(&self, stat: &Statx) -> bool {
        attributes::of_file(&self.root).is_ok_and(|root| root.stx_ino == stat.stx_ino)
    }

    /// An entry of a directory; the link itself where it is one.
    pub(crate) fn child(self: &Arc<Self>, directory: &Object, name: &[u8]) -> Result<Object> {
        let object = self.object(open_entry(&directory.file, name)?)?;
        self.note(&object.stat, directory, name);
        Ok(object)
    }

    /// Notes that an entry was seen.
    pub(crate) fn note(&self, stat: &Statx, directory: &Object, name: &[u8]) {
        let is_directory = file_type(stat) == FileType::Directory;
        self.tree().note(stat.stx_ino, directory.stat.stx_ino, name, is_directory);
    }

    fn object(self: &Arc<Self>, file: OwnedFd) -> Result<Object> {
        let stat = attributes::of_file(&file).map_err(status::of)?;
        Ok(Object { export: self.clone(), file, stat })
    }

    /// The file that a handle names.
    pub(crate) fn find(self: &Arc<Self>, handle: &Handle) -> Result<Object> {
        let top = self.top()?;
        if is_it(&top.stat, handle) {
            return Ok(top);
        }
        if let Some(found) = self.try_paths(handle)? {
            return Ok(found);
        }
        if self.tree().is_gone(handle.inode, handle.birth) {
            return Err(nfsstat3::NFS3ERR_STALE);
        }
        // Changed from the server's side, or not seen since the server was started.
        self.walk(&mut |parent, name, stat| {
            let is_directory = file_type(stat) == FileType::Directory;
            self.tree().note(stat.stx_ino, parent, name, is_directory);
        });
        let found = self.try_paths(handle)?;
        if found.is_none() {
            self.tree().note_gone(handle.inode, handle.birth);
        }
        found.ok_or(nfsstat3::NFS3ERR_STALE)
    }

    /// Tries the paths by which the file was seen, and forgets those that lead elsewhere by now.
    fn try_paths(self: &Arc<Self>, handle: &Handle) -> Result<Option<Object>> {
        let paths = self.tree().paths(handle.inode);
        for (link, components) in paths {
            match self.follow(&components) {
                Ok(object) if is_it(&object.stat, handle) => return Ok(Some(object)),
                Err(nfsstat3::NFS3ERR_JUKEBOX) => return Err(nfsstat3::NFS3ERR_JUKEBOX),
                _ => self.tree().forget(handle.inode, link.parent, &link.name),
            }
        }
        Ok(None)
    }

    /// Goes down from the top, through directories only.
    fn follow(self: &Arc<Self>, components: &[Vec<u8>]) -> Result<Object> {
        let mut at = self.root.try_clone().map_err(|_| nfsstat3::NFS3ERR_JUKEBOX)?;
        for name in components {
            at = open_entry(&at, name)?;
        }
        self.object(at)
    }

    /// Visits every entry below the top with the inode of its directory, directories before what is in them. What
    /// can't be read is left out.
    fn walk(&self, visit: &mut dyn FnMut(u64, &[u8], &Statx)) {
        if let (Ok(root), Ok(stat)) = (self.root.try_clone(), attributes::of_file(&self.root)) {
            let mut left = vec![(root, stat)];
            while let Some((directory, stat)) = left.pop() {
                let Ok(listing) = Listings::default().read(&directory, &stat) else { continue };
                for entry in listing.iter() {
                    let Ok(file) = open_entry(&directory, &entry.name) else { continue };
                    let Ok(found) = attributes::of_file(&file) else { continue };
                    visit(stat.stx_ino, &entry.name, &found);
                    if file_type(&found) == FileType::Directory {
                        left.push((file, found));
                    }
                }
            }
        }
    }

    /// Where an inode was seen last, as a path of the server, for the journal.
    pub(crate) fn path_of(&self, inode: u64) -> String {
        let paths = self.tree().paths(inode);
        let mut path = self.path.clone();
        for name in paths.first().map(|(_, components)| components.as_slice()).unwrap_or_default() {
            if !path.ends_with('/') {
                path.push('/');
            }
            path.push_str(&String::from_utf8_lossy(name));
        }
        path
    }
}

impl Object {
    /// What kind of file it is.
    pub(crate) fn file_type(&self) -> FileType {
        file_type(&self.stat)
    }

    /// Opens the file itself for reading or writing.
    pub(crate) fn open(&self, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::open(self.magic_link(), flags, Mode::empty()).map_err(status::of)
    }

    /// The path by which the kernel reaches exactly this file, wherever it is by now.
    pub(crate) fn magic_link(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }

    /// The object when it is a directory.
    pub(crate) fn directory(self) -> Result<Self> {
        if self.file_type() == FileType::Directory { Ok(self) } else { Err(nfsstat3::NFS3ERR_NOTDIR) }
    }
}

fn is_it(stat: &Statx, handle: &Handle) -> bool {
    stat.stx_ino == handle.inode && birth(stat) == handle.birth
}

/// Opens an entry without reading it or following it.
fn open_entry(directory: &OwnedFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(status::of)
}

/// Whether a name can be an entry's: one component, and not `.` or `..`.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > LONGEST_NAME {
        return Err(nfsstat3::NFS3ERR_NAMETOOLONG);
    }
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(nfsstat3::NFS3ERR_INVAL);
    }
    Ok(())
}
