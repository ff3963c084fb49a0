//! Files of an export as the server's administrator sees them, with the words that the embedded lab has for them. No path
//! leads through a symbolic link.

use lab::ExportEntry;
use nfs3_client::nfs3_types::nfs3::{Nfs3Option, fattr3, ftype3, nfs_fh3, nfsstat3, sattr3};

use super::session::{Found, NfsError, Session, mode};

/// The longest name of an entry, in bytes.
const LONGEST_NAME: usize = 255;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It can't be done, whoever asks: for a reply.
    #[error("{message}")]
    Refused {
        /// The kernel's word, such as `ENOENT`.
        code: &'static str,
        /// What was tried and why it failed.
        message: String,
    },
    /// The server was no help.
    #[error("{action} {path} failed")]
    Server {
        action: &'static str,
        path: String,
        #[source]
        source: NfsError,
    },
}

type Outcome<T> = Result<T, FileError>;

/// A file by its names from what is mounted.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its path by the file's names, for messages and entries.
    pub(crate) path: String,
    /// Its names on the server.
    pub(crate) names: Vec<String>,
    /// How many of them are the export's own.
    pub(crate) export: usize,
}

impl Target {
    /// A file in an export.
    ///
    /// # Errors
    /// [`FileError::Refused`] for a path with a part that no file can have.
    pub(crate) fn new(path: &str, names: Vec<String>, export: usize) -> Outcome<Self> {
        let target = Self { path: path.to_owned(), names, export };
        let possible = |name: &String| {
            name.len() <= LONGEST_NAME && !matches!(name.as_str(), "." | "..") && !name.contains('\0')
        };
        if target.names.iter().all(possible) { Ok(target) } else { Err(target.no_path()) }
    }

    fn no_path(&self) -> FileError {
        FileError::Refused {
            code: "EINVAL",
            message: format!("{} is no path of a file in an export", self.path),
        }
    }

    /// The directories on the way and the file's own name. The export itself can't be made, replaced or removed.
    fn split(&self) -> Outcome<(&[String], &str)> {
        match self.names.split_last() {
            Some((name, folders)) if self.names.len() > self.export => Ok((folders, name)),
            _ => Err(self.no_path()),
        }
    }

    fn refused(&self, action: &'static str, status: nfsstat3) -> FileError {
        let (code, words) = words(status);
        FileError::Refused { code, message: format!("{action} {} failed: {words}", self.path) }
    }

    /// The error of a call that was made for `action`.
    fn failed(&self, action: &'static str) -> impl Fn(NfsError) -> FileError {
        move |error| match error {
            NfsError::Status(status) => self.refused(action, status),
            source => FileError::Server { action, path: self.path.clone(), source },
        }
    }
}

/// The kernel's word for what a server answers, and what it says to people.
fn words(status: nfsstat3) -> (&'static str, String) {
    let (code, words) = match status {
        nfsstat3::NFS3ERR_NOENT => ("ENOENT", "No such file or directory"),
        nfsstat3::NFS3ERR_NOTDIR => ("ENOTDIR", "Not a directory"),
        nfsstat3::NFS3ERR_ISDIR => ("EISDIR", "Is a directory"),
        nfsstat3::NFS3ERR_EXIST => ("EEXIST", "File exists"),
        nfsstat3::NFS3ERR_ACCES | nfsstat3::NFS3ERR_PERM => ("EACCES", "Permission denied"),
        nfsstat3::NFS3ERR_NOSPC | nfsstat3::NFS3ERR_DQUOT => ("ENOSPC", "No space left on device"),
        other => return ("EINVAL", format!("the server answered {other}")),
    };
    (code, words.to_owned())
}

/// Writes a file, in place of what it held; directories on the way are made. What is made is open to everybody.
pub(crate) async fn put(session: &mut Session, target: &Target, content: &[u8]) -> Outcome<()> {
    let failed = target.failed("writing");
    let (folders, name) = target.split()?;
    let folder = descend(session, target, folders, true).await?;
    let file = match session.look_up(&folder, name.as_bytes()).await {
        Ok(found) => match found.attributes.type_ {
            ftype3::NF3REG => {
                let empty = sattr3 { size: Nfs3Option::Some(0), ..sattr3::default() };
                session.set(&found.handle, empty).await.map_err(&failed)?;
                found
            }
            ftype3::NF3DIR => return Err(target.refused("writing", nfsstat3::NFS3ERR_ISDIR)),
            ftype3::NF3LNK => {
                let message = format!("writing {} failed: it is a symbolic link", target.path);
                return Err(FileError::Refused { code: "ELOOP", message });
            }
            _ => return Err(target.refused("writing", nfsstat3::NFS3ERR_INVAL)),
        },
        Err(NfsError::Status(nfsstat3::NFS3ERR_NOENT)) => {
            session.make_file(&folder, name.as_bytes()).await.map_err(&failed)?;
            session.look_up(&folder, name.as_bytes()).await.map_err(&failed)?
        }
        Err(error) => return Err(failed(error)),
    };
    session.set(&file.handle, mode(0o666)).await.map_err(&failed)?;
    session.write(&file.handle, content).await.map_err(failed)
}

/// What a file holds.
pub(crate) async fn get(session: &mut Session, target: &Target) -> Outcome<Vec<u8>> {
    let found = find(session, target).await?;
    if found.attributes.type_ != ftype3::NF3REG {
        return Err(target.refused("reading", nfsstat3::NFS3ERR_INVAL));
    }
    session.read(&found.handle).await.map_err(target.failed("reading"))
}

/// Makes a directory and those on the way; one that is there is no error.
pub(crate) async fn make_directory(session: &mut Session, target: &Target) -> Outcome<()> {
    descend(session, target, &target.names, true).await.map(drop)
}

/// Opens to everybody a directory that is there.
pub(crate) async fn open_up(session: &mut Session, target: &Target) -> Outcome<()> {
    let folder = descend(session, target, &target.names, false).await?;
    session.set(&folder, mode(0o777)).await.map_err(target.failed("opening"))
}

/// Makes a symbolic link; directories on the way are made.
pub(crate) async fn symlink(session: &mut Session, target: &Target, to: &str) -> Outcome<()> {
    let (folders, name) = target.split()?;
    let folder = descend(session, target, folders, true).await?;
    session.make_link(&folder, name.as_bytes(), to.as_bytes()).await.map_err(target.failed("linking"))
}

/// What is at a path.
pub(crate) async fn look(session: &mut Session, target: &Target) -> Outcome<ExportEntry> {
    let found = find(session, target).await?;
    entry(session, target, target.path.clone(), &found).await
}

/// Everything below a directory, sorted by path.
pub(crate) async fn list(session: &mut Session, target: &Target) -> Outcome<Vec<ExportEntry>> {
    let failed = target.failed("listing");
    let top = find(session, target).await?;
    if top.attributes.type_ != ftype3::NF3DIR {
        return Err(target.refused("listing", nfsstat3::NFS3ERR_NOTDIR));
    }
    let mut entries = Vec::new();
    let mut left = vec![(target.path.trim_end_matches('/').to_owned(), top.handle)];
    while let Some((folder, handle)) = left.pop() {
        for name in session.names(&handle).await.map_err(&failed)? {
            let found = match session.look_up(&handle, &name).await {
                Ok(found) => found,
                // It went away meanwhile.
                Err(NfsError::Status(nfsstat3::NFS3ERR_NOENT)) => continue,
                Err(error) => return Err(failed(error)),
            };
            let path = format!("{folder}/{}", String::from_utf8_lossy(&name));
            entries.push(entry(session, target, path.clone(), &found).await?);
            if found.attributes.type_ == ftype3::NF3DIR {
                left.push((path, found.handle));
            }
        }
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

/// Removes a file, or a directory with all that is in it.
pub(crate) async fn delete(session: &mut Session, target: &Target) -> Outcome<()> {
    let (folders, name) = target.split()?;
    let folder = descend(session, target, folders, false).await?;
    remove(session, &folder, name.as_bytes()).await.map_err(target.failed("removing"))
}

/// The entries of what is mounted whose names begin with `prefix`, removed with all that is in them.
pub(crate) async fn remove_all(session: &mut Session, prefix: &str) -> Result<(), NfsError> {
    let top = session.top().await?.handle;
    for name in session.names(&top).await? {
        if name.starts_with(prefix.as_bytes()) {
            remove(session, &top, &name).await?;
        }
    }
    Ok(())
}

/// Removes an entry; a directory after what is in it.
async fn remove(session: &mut Session, folder: &nfs_fh3, name: &[u8]) -> Result<(), NfsError> {
    let first = session.look_up(folder, name).await?;
    let mut left = vec![(folder.clone(), name.to_owned(), first, false)];
    while let Some((parent, name, found, is_empty)) = left.pop() {
        if found.attributes.type_ != ftype3::NF3DIR {
            gone(session.remove(&parent, &name).await)?;
        } else if is_empty {
            gone(session.remove_directory(&parent, &name).await)?;
        } else {
            let inside = session.names(&found.handle).await?;
            let folder = found.handle.clone();
            left.push((parent, name, found, true));
            for name in inside {
                match session.look_up(&folder, &name).await {
                    Ok(found) => left.push((folder.clone(), name, found, false)),
                    Err(error) => gone(Err(error))?,
                }
            }
        }
    }
    Ok(())
}

/// Whoever else removed it did what was wanted.
fn gone(outcome: Result<(), NfsError>) -> Result<(), NfsError> {
    match outcome {
        Err(NfsError::Status(nfsstat3::NFS3ERR_NOENT)) => Ok(()),
        outcome => outcome,
    }
}

/// What is at the target's path.
async fn find(session: &mut Session, target: &Target) -> Outcome<Found> {
    let failed = target.failed("opening");
    let mut at = session.top().await.map_err(&failed)?;
    for name in &target.names {
        if at.attributes.type_ != ftype3::NF3DIR {
            return Err(target.refused("opening", nfsstat3::NFS3ERR_NOTDIR));
        }
        at = session.look_up(&at.handle, name.as_bytes()).await.map_err(&failed)?;
    }
    Ok(at)
}

/// The last of these directories, each made where it is missing, if it may be.
async fn descend(session: &mut Session, target: &Target, folders: &[String], make: bool) -> Outcome<nfs_fh3> {
    let failed = target.failed("opening");
    let mut at = session.top().await.map_err(&failed)?.handle;
    for name in folders {
        let name = name.as_bytes();
        let found = match session.look_up(&at, name).await {
            Err(NfsError::Status(nfsstat3::NFS3ERR_NOENT)) if make => {
                match session.make_directory(&at, name).await {
                    // Somebody else has made it a moment ago.
                    Ok(()) | Err(NfsError::Status(nfsstat3::NFS3ERR_EXIST)) => {}
                    Err(error) => return Err(failed(error)),
                }
                let made = session.look_up(&at, name).await.map_err(&failed)?;
                // The server's own mask may have taken permissions away.
                session.set(&made.handle, mode(0o777)).await.map_err(&failed)?;
                made
            }
            found => found.map_err(&failed)?,
        };
        if found.attributes.type_ != ftype3::NF3DIR {
            return Err(target.refused("opening", nfsstat3::NFS3ERR_NOTDIR));
        }
        at = found.handle;
    }
    Ok(at)
}

async fn entry(session: &mut Session, target: &Target, path: String, found: &Found) -> Outcome<ExportEntry> {
    let fattr3 { type_, mode, size, uid, gid, .. } = found.attributes;
    let target = if type_ == ftype3::NF3LNK {
        let to = session.read_link(&found.handle).await.map_err(target.failed("reading"))?;
        Some(String::from_utf8_lossy(&to).into_owned())
    } else {
        None
    };
    let kind = match type_ {
        ftype3::NF3REG => "file",
        ftype3::NF3DIR => "directory",
        ftype3::NF3LNK => "symlink",
        _ => "other",
    };
    let mode = format!("{:04o}", mode & 0o7777);
    Ok(ExportEntry { path, kind: kind.to_owned(), size, mode, uid, gid, target })
}
