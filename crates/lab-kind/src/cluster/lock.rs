//! A cluster is used by one process at a time.

use std::fs;

use nix::fcntl::Flock;

use crate::lock::try_lock;
use crate::{Folders, KindError};

/// The right to make, use and remove the cluster of a name. Gone with the value, or with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    name: String,
    _file: Flock<fs::File>,
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
        Ok(Self { name: name.to_owned(), _file: file })
    }

    /// The cluster's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
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
    }
}
