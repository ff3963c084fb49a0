//! The paths of one mount.

use std::path::Path;

use contract::intents::check_mount_path;
use contract::paths::staging_directory;

use super::links::Link;
use super::mount_root::{self, MountTable};
use super::problem::Problem;
use super::{Agent, Surroundings};

/// Where one mount goes.
#[derive(Debug)]
pub(super) struct Directories {
    pub(super) table: MountTable,
    pub(super) link: Link,
}

impl Directories {
    /// The staging directory as the driver gets it.
    pub(super) fn staging(&self) -> String {
        self.link.target.to_string_lossy().into_owned()
    }

    fn find(surroundings: &Surroundings, driver: &str, mount_path: &str) -> Result<Self, Problem> {
        let table = mount_root::find(surroundings)?;
        let target = table.root.join(staging_directory(driver, mount_path));
        Ok(Self { link: Link { path: Path::new(mount_path).to_owned(), target }, table })
    }
}

impl Agent {
    /// Where the mount of `mount_path` goes. Reads the table of mounts.
    pub(super) async fn directories(&self, driver: &str, mount_path: &str) -> Result<Directories, Problem> {
        check_mount_path(mount_path).map_err(|problem| Problem::invalid(problem.message()))?;
        let (surroundings, driver, path) =
            (self.surroundings.clone(), driver.to_owned(), mount_path.to_owned());
        blocking(move || Directories::find(&surroundings, &driver, &path)).await
    }
}

/// Runs work on the file system beside the asynchronous tasks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|problem| Err(Problem::internal(problem.to_string())))
}
