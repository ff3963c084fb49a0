//! Where everything is kept.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::KindError;

/// The folders of the kind backend: below the user's cache folder, so that losing them costs time only.
#[derive(Clone, Debug)]
pub struct Folders {
    root: PathBuf,
}

impl Folders {
    /// Below `$XDG_CACHE_HOME/mountlab/kind`, or `~/.cache/mountlab/kind`.
    ///
    /// # Errors
    /// When neither variable is set, or the folder can't be made.
    pub fn of_user() -> Result<Self, KindError> {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .ok_or_else(|| {
                KindError::machine(
                    "there is no cache folder",
                    "set HOME or XDG_CACHE_HOME to a folder you can write",
                )
            })?;
        Self::below(&cache.join("mountlab/kind"))
    }

    /// Below a folder of the caller's choice, which is made.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn below(root: &Path) -> Result<Self, KindError> {
        fs::create_dir_all(root).map_err(|error| {
            KindError::machine(
                format!("the cache folder {} can't be made ({error})", root.display()),
                "set XDG_CACHE_HOME to a folder you can write",
            )
        })?;
        let root = root.canonicalize().map_err(KindError::io("finding", root))?;
        Ok(Self { root })
    }

    /// All of it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A name that no other root has.
    pub fn id(&self) -> String {
        hex::encode(Sha256::digest(self.root.as_os_str().as_encoded_bytes()))[..12].to_owned()
    }

    /// Whether a cluster of that name was made to its end in this folder.
    pub(crate) fn has_cluster(&self, name: &str) -> bool {
        self.root.join("clusters").join(name).join("complete").is_file()
    }

    /// A folder below the root, made now.
    pub(crate) fn make(&self, name: &str) -> Result<PathBuf, KindError> {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).map_err(KindError::io("making", &folder))?;
        Ok(folder)
    }

    /// A file for what a step says.
    pub(crate) fn log(&self, step: &str) -> Result<PathBuf, KindError> {
        let name: String =
            step.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
        Ok(self.make("logs")?.join(format!("{name}.log")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_roots_have_two_ids() {
        let folder = tempfile::tempdir().unwrap();
        let one = Folders::below(&folder.path().join("one")).unwrap();
        let other = Folders::below(&folder.path().join("other")).unwrap();
        assert_ne!(one.id(), other.id());
        assert_eq!(one.id(), Folders::below(one.root()).unwrap().id());
    }

    #[test]
    fn a_folder_that_cannot_be_made_comes_with_its_remedy() {
        let error = Folders::below(Path::new("/proc/no/folder")).unwrap_err().to_string();
        assert!(error.contains("/proc/no/folder") && error.contains("XDG_CACHE_HOME"), "{error}");
    }

    #[test]
    fn the_log_of_a_step_has_a_harmless_name() {
        let folder = tempfile::tempdir().unwrap();
        let log = Folders::below(folder.path()).unwrap().log("image a/b:c").unwrap();
        assert_eq!(log.file_name().unwrap(), "image-a-b-c.log");
    }
}
