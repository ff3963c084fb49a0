//! Where a volume is to be mounted: a directory, with a dead mount on it perhaps.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::driver::Refusal;
use crate::mounts::{self, MountTable};

/// An existing directory for one mount. A dead mount on it stays until [`clear`](Self::clear): whoever uses it gets errors
/// as long as that, and what is written meanwhile doesn't end up in the directory below, where nobody would find it.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    table: Arc<dyn MountTable>,
    is_taken: AtomicBool,
}

impl Place {
    /// A directory that nothing is mounted on.
    pub(crate) fn free(path: PathBuf, table: Arc<dyn MountTable>) -> Self {
        Self { path, table, is_taken: AtomicBool::new(false) }
    }

    /// A directory with a mount on it that nobody serves.
    pub(crate) fn with_dead_mount(path: PathBuf, table: Arc<dyn MountTable>) -> Self {
        Self { path, table, is_taken: AtomicBool::new(true) }
    }

    /// The directory; the dead mount's as long as that is there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the dead mount away, if there is one. To be called when everything else is ready.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn clear(&self) -> Result<(), Refusal> {
        if self.is_taken.load(Ordering::SeqCst) {
            tracing::warn!(target = %self.path.display(), "unmounting a dead mount");
            mounts::detach(&self.table, &self.path).await?;
            self.is_taken.store(false, Ordering::SeqCst);
        }
        Ok(())
    }
}
