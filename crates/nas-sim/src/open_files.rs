//! Files kept open between calls: NFSv3 has no open, so every READ and WRITE would have to.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// How many files are kept open for each export.
const MOST: usize = 64;

/// The files used last, the latest at the back.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles {
    files: Mutex<VecDeque<(u64, Arc<OwnedFd>)>>,
}

impl OpenFiles {
    /// The open file of an inode; `open` opens it where it isn't yet.
    pub(crate) fn get<E>(
        &self,
        inode: u64,
        open: impl FnOnce() -> Result<OwnedFd, E>,
    ) -> Result<Arc<OwnedFd>, E> {
        let mut files = self.lock();
        let known = files.iter().position(|(known, _)| *known == inode).and_then(|at| files.remove(at));
        let (inode, file) = match known {
            Some(entry) => entry,
            None => (inode, Arc::new(open()?)),
        };
        files.push_back((inode, file.clone()));
        if files.len() > MOST {
            files.pop_front();
        }
        Ok(file)
    }

    /// Closes the file of an inode that is removed, so that its space is free again.
    pub(crate) fn close(&self, inode: u64) {
        self.lock().retain(|(known, _)| *known != inode);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, Arc<OwnedFd>)>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
