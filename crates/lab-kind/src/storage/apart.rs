//! Servers that one lab has alone: what it does to them nobody else notices, so that it needn't wait until nobody else is there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lab::SharedPart;

use super::site::{self, Site};
use super::{Minio, NfsServer};
use crate::KindError;
use crate::images::Images;

/// Starts them.
#[derive(Clone, Debug)]
pub(crate) struct Apart {
    site: Site,
    minio_image: String,
    nfs_image: String,
    /// Numbers that labs have now.
    numbers: Arc<Mutex<BTreeSet<u32>>>,
}

/// The servers of one lab.
#[derive(Clone, Debug)]
pub(crate) struct ServersApart {
    pub(crate) minio: Option<Minio>,
    pub(crate) nfs: Option<NfsServer>,
    number: u32,
    apart: Apart,
    /// Whether they were removed: their number may be another lab's by now.
    removed: Arc<AtomicBool>,
}

impl Apart {
    pub(crate) fn new(site: Site, images: &Images) -> Self {
        let (minio_image, nfs_image) = (images.minio.clone(), images.nfs.clone());
        Self { site, minio_image, nfs_image, numbers: Arc::default() }
    }

    /// Starts those that a lab disturbs. Of servers that couldn't all be started none is left.
    ///
    /// # Errors
    /// [`KindError`] with what Docker said, or what the server said last.
    pub(crate) async fn start(&self, disturbed: &BTreeSet<SharedPart>) -> Result<ServersApart, KindError> {
        let number = self.draw();
        let minio = async {
            if !disturbed.contains(&SharedPart::ObjectStore) {
                return Ok(None);
            }
            Minio::apart(&self.site, number, &self.minio_image).await.map(Some)
        };
        let nfs = async {
            if !disturbed.contains(&SharedPart::NetworkFileSystem) {
                return Ok(None);
            }
            NfsServer::apart(&self.site, number, &self.nfs_image).await.map(Some)
        };
        // Both to their ends: of one that was given up half way a container would be left.
        let (minio, nfs) = tokio::join!(minio, nfs);
        match (minio, nfs) {
            (Ok(minio), Ok(nfs)) => {
                Ok(ServersApart { minio, nfs, number, apart: self.clone(), removed: Arc::default() })
            }
            (Err(error), _) | (_, Err(error)) => {
                // What went wrong first is what counts; what is left is swept at the end of the run.
                let _ = self.remove(number).await;
                Err(error)
            }
        }
    }

    /// Removes every server of one lab alone that is there, from a run that was killed.
    ///
    /// # Errors
    /// [`KindError`] when Docker doesn't.
    pub(crate) async fn sweep(&self) -> Result<(), KindError> {
        for name in site::servers(&self.site.docker, &self.site.cluster, &self.site.owner).await? {
            if site::is_apart(&self.site.cluster, &name) {
                self.site.docker.remove_container(&name).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, number: u32) -> Result<(), KindError> {
        for seat in [self.site.object_store(Some(number)), self.site.network_file_system(Some(number))] {
            self.site.docker.remove_container(&seat.name).await?;
        }
        self.numbers().remove(&number);
        Ok(())
    }

    /// The lowest number that no lab has.
    fn draw(&self) -> u32 {
        let mut numbers = self.numbers();
        let number = (0..u32::MAX).find(|number| !numbers.contains(number)).unwrap_or_default();
        numbers.insert(number);
        number
    }

    fn numbers(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServersApart {
    /// Ends them with everything that they hold, once.
    ///
    /// # Errors
    /// [`KindError`] when Docker doesn't remove them.
    pub(crate) async fn remove(&self) -> Result<(), KindError> {
        if self.removed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.apart.remove(self.number).await
    }
}
