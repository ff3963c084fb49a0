//! Locks between processes: gone with the value, or with the process.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::observer::{Observer, Step};
use crate::{Folders, KindError};

/// How long another process may build: everything, on a slow machine.
const BUILD_DEADLINE: Duration = Duration::from_secs(2 * 3600);
const INTERVAL: Duration = Duration::from_millis(500);

/// Takes the lock of a file, which is made; nothing when another process, or another value of this one, has it. Who has it may
/// remove the file.
pub(crate) fn try_lock(path: &Path) -> Result<Option<Flock<fs::File>>, KindError> {
    loop {
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(KindError::io("opening", path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) if is_at(&lock, path)? => return Ok(Some(lock)),
            // removed since it was opened, by whom had it: that lock keeps nobody out
            Ok(_) => {}
            Err((_, nix::Error::EWOULDBLOCK)) => return Ok(None),
            Err((_, other)) => return Err(KindError::io("locking", path)(other.into())),
        }
    }
}

/// Whether the file is the one at that path.
fn is_at(file: &fs::File, path: &Path) -> Result<bool, KindError> {
    let own = file.metadata().map_err(KindError::io("looking at", path))?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(KindError::io("looking at", path)(error)),
    }
}

/// Waits for the right to build programs and images: one process does, others then find what they need.
pub(crate) async fn building(
    folders: &Folders,
    observer: &dyn Observer,
) -> Result<Flock<fs::File>, KindError> {
    let path = folders.root().join("building.lock");
    if let Some(lock) = try_lock(&path)? {
        return Ok(lock);
    }
    let step = Step::begin(observer, "waiting for another mountlab that builds images");
    let started = Instant::now();
    loop {
        if let Some(lock) = try_lock(&path)? {
            step.done();
            return Ok(lock);
        }
        if started.elapsed() > BUILD_DEADLINE {
            return Err(KindError::Deadline {
                deadline: "deadline of another process's builds",
                limit: BUILD_DEADLINE,
                last: format!("{} is still locked", path.display()),
            });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Silent;

    #[tokio::test]
    async fn who_waits_builds_next() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::below(folder.path()).unwrap();
        let first = building(&folders, &Silent).await.unwrap();
        assert!(try_lock(&folders.root().join("building.lock")).unwrap().is_none());
        let (second, ()) = tokio::join!(building(&folders, &Silent), async { drop(first) });
        second.unwrap();
    }
}
