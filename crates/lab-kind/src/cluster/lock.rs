//! A cluster is used by one process at a time.

use std::fs;
use std::path::PathBuf;

use nix::fcntl::Flock;

use crate::lock::try_lock;
use crate::{Folders, KindError};

/// The right to make, use and remove the cluster of a name. Gone with the value and its file, or with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    name: String,
    path: PathBuf,
    _file: Flock<fs::File>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // before it is unlocked; one that stays keeps nobody out and goes with its next user
        let _ = fs::remove_file(&self.path);
    }
}

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// When another process has it.
    pub(crate) fn take(name: &str, folders: &Folders) -> Result<Self, KindError> {
        // Beside the cluster's folder: that one is removed with the cluster.
        let path = folders.make("clusters")?.join(format!("{name}.lock"));
        let file = try_lock(&path)?.ok_or_else(|| {
            KindError::machine(
                format!("the cluster {name} is in use by another mountlab"),
                "wait for it to end, or choose another name",
            )
        })?;
        Ok(Self { name: name.to_owned(), path, _file: file })
    }

    /// The cluster's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_cluster_is_used_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::below(folder.path()).unwrap();
        let first = Lock::take("lab", &folders).unwrap();
        let error = Lock::take("lab", &folders).unwrap_err().to_string();
        assert!(error.contains("in use by another mountlab"), "{error}");
        Lock::take("other", &folders).unwrap();
        drop(first);
        Lock::take("lab", &folders).unwrap();
        assert_eq!(fs::read_dir(folders.root().join("clusters")).unwrap().count(), 0, "nothing stays");
    }

    #[test]
    fn a_file_that_goes_with_its_lock_lets_nobody_in_twice() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::below(folder.path()).unwrap();
        let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 200 {
                        let Ok(lock) = Lock::take("lab", &folders) else { continue };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "somebody else has it too");
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        taken.fetch_add(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(taken.into_inner() >= 200);
    }
}
