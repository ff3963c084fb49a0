//! Locks between processes: gone with the value, or with the process.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::observer::{Observer, Step};
use crate::{Folders, KindError};

/// How long another process may build: everything, on a slow machine.
const BUILD_DEADLINE: Duration = Duration::from_secs(2 * 3600);
const INTERVAL: Duration = Duration::from_millis(500);

/// Takes the lock of a file, which is made; nothing when another process, or another value of this one, has it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<Flock<fs::File>>, KindError> {
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(KindError::io("opening", path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::Error::EWOULDBLOCK)) => Ok(None),
        Err((_, other)) => Err(KindError::io("locking", path)(other.into())),
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
