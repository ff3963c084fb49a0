//! Where checkpoints are kept: a file system in memory of a limited size, so that they can't take the lab's memory.
//!
//! ```text
//! checkpoints/cp-0123456789ab/about.json     whose it is
//!                             0/0, 0/1 …     of the checkpoint that its sandbox was made from, the oldest first
//!                             1/0, 1/1 …     what the sandbox wrote itself: one layer for each overlay of its root
//! ```
//! A checkpoint has all that it needs: the one that its sandbox was made from may be deleted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;
use serde::{Deserialize, Serialize};

use super::tree::{Copier, Tally};

const ABOUT: &str = "about.json";
/// Ending of a folder that is being made.
const UNFINISHED: &str = ".part";

/// Whose files they are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct About {
    /// Namespace of the Checkpoint; pods of others can't have it.
    pub(crate) namespace: String,
    /// The container whose files they are.
    pub(crate) container: String,
}

/// What to keep.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The checkpoint's id, the name of its folder.
    pub(crate) id: String,
    /// The checkpoint that the pod was made from.
    pub(crate) origin: Option<String>,
    /// Whose files they are.
    pub(crate) about: About,
    /// The container's writable layers, in the order of its overlays.
    pub(crate) writable: Vec<PathBuf>,
}

/// Why files could not be kept, found or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The store is full.
    #[error(
        "the node has no space left for checkpoints, {space} bytes are all it has: delete some, or remove files in the sandbox"
    )]
    Full {
        /// Its size.
        space: u64,
    },
    /// A copy failed for another reason.
    #[error("copying the files of the container failed")]
    Copy(#[source] io::Error),
    /// The store itself failed.
    #[error("using {path} failed", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is none.
    #[error("checkpoint {0} is not kept on this node")]
    Missing(String),
}

/// The checkpoints of a node.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    space: u64,
}

impl Store {
    /// An empty store on a file system of its own with `space` bytes, mounted at `directory`.
    pub(crate) fn make(directory: PathBuf, space: u64) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let options = std::ffi::CString::new(format!("mode=0700,size={space}"))?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID;
        rustix::mount::mount("checkpoints", &directory, "tmpfs", flags, Some(options.as_c_str()))?;
        Ok(Self { directory, space })
    }

    /// Copies the layers. What exists already under that id is replaced; after a failure nothing is left.
    pub(crate) fn keep(&self, request: &Request) -> Result<Tally, StoreError> {
        self.remove(&request.id)?;
        let unfinished = self.directory.join(format!("{}{UNFINISHED}", request.id));
        let made = self.copy(request, &unfinished).and_then(|tally| {
            let place = self.directory.join(&request.id);
            fs::rename(&unfinished, &place).map_err(at(&place))?;
            Ok(tally)
        });
        if made.is_err() {
            remove_folder(&unfinished)?;
        }
        made
    }

    fn copy(&self, request: &Request, to: &Path) -> Result<Tally, StoreError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::StorageFull => StoreError::Full { space: self.space },
            _ => StoreError::Copy(error),
        };
        let mut copier = Copier::default();
        fs::create_dir(to).map_err(failed)?;
        let Request { origin, about, .. } = request;
        let mut earlier = match origin {
            Some(origin) => self.layers(origin, &about.namespace, &about.container)?,
            None => Vec::new(),
        };
        earlier.reverse();
        for (number, layer) in earlier.iter().enumerate() {
            copier.directory(layer, &to.join(number.to_string())).map_err(failed)?;
        }
        let own = to.join(earlier.len().to_string());
        fs::create_dir(&own).map_err(failed)?;
        for (number, layer) in request.writable.iter().enumerate() {
            copier.directory(layer, &own.join(number.to_string())).map_err(failed)?;
        }
        let about = serde_json::to_vec(about).map_err(|error| StoreError::Copy(error.into()))?;
        fs::write(to.join(ABOUT), about).map_err(failed)?;
        Ok(copier.tally)
    }

    /// The layers that a container of a pod in `namespace` starts with, the newest first; none for another container than
    /// the one whose files they are.
    pub(crate) fn layers(
        &self,
        id: &str,
        namespace: &str,
        container: &str,
    ) -> Result<Vec<PathBuf>, StoreError> {
        let missing = || StoreError::Missing(id.to_owned());
        // The id comes from an annotation that anybody may have written.
        if !contract::extensions::is_dns_label(id) {
            return Err(missing());
        }
        let place = self.directory.join(id);
        let about = fs::read(place.join(ABOUT)).map_err(|_| missing())?;
        let about: About = serde_json::from_slice(&about).map_err(|_| missing())?;
        if about.namespace != namespace {
            return Err(missing());
        }
        if about.container != container {
            return Ok(Vec::new());
        }
        let numbered = (0..).map(|number: usize| place.join(number.to_string()));
        let mut layers: Vec<_> = numbered.take_while(|layer| layer.is_dir()).collect();
        layers.reverse();
        Ok(layers)
    }

    /// Removes the files of a checkpoint; one that isn't there is no error.
    pub(crate) fn remove(&self, id: &str) -> Result<(), StoreError> {
        remove_folder(&self.directory.join(id))
    }

    /// Everything that is kept: id and folder.
    pub(crate) fn all(&self) -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
    }
}

fn remove_folder(folder: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Folder { path, source }
}
