//! What can be done at a cluster of one's own and at no other.

use async_trait::async_trait;
use lab::{Capability, ExportOptions, LabError, Outage, StorageServer};

use crate::backend::NAME;

/// Ways to the nodes and servers of a cluster, for whoever made it.
#[async_trait]
pub trait Powers: Send + Sync {
    /// What labs can do by them.
    fn capabilities(&self) -> Vec<Capability>;

    /// Kills the first process of a container with SIGKILL. The id is that of a pod's status: `containerd://ID`.
    ///
    /// # Errors
    /// [`LabError::NotFound`] when the container doesn't run any more, another [`LabError`] when the node refuses.
    async fn kill(&self, container_id: &str) -> Result<(), LabError>;

    /// Begins an outage of a storage server; a restart has ended, and the server answers, when this returns.
    ///
    /// # Errors
    /// [`LabError`] when the server can't be reached that way.
    async fn begin_outage(&self, server: StorageServer, outage: Outage) -> Result<(), LabError>;

    /// Ends an outage that was begun, and returns once the server answers at the same address as before.
    ///
    /// # Errors
    /// [`LabError`] when it doesn't come back.
    async fn end_outage(&self, server: StorageServer, outage: Outage) -> Result<(), LabError>;

    /// Offers a folder of the NFS server, by the path that clients mount, or offers it in another way; it is so when
    /// this returns. Only asked where [`Capability::NetworkFileSystem`] is among the capabilities: elsewhere the server
    /// offers folders as soon as they are made.
    ///
    /// # Errors
    /// [`LabError`] when the server doesn't take it.
    async fn export(&self, _path: &str, _options: ExportOptions) -> Result<(), LabError> {
        let what = Capability::NetworkFileSystem.to_string();
        Err(LabError::Unsupported { backend: NAME, what })
    }

    /// The lab that had these powers is gone; what was there for it alone may go too.
    ///
    /// # Errors
    /// [`LabError`] naming what could not be removed.
    async fn lab_is_gone(&self) -> Result<(), LabError> {
        Ok(())
    }

    /// No longer offers the folders whose paths begin with `prefix`.
    ///
    /// # Errors
    /// [`LabError`] when the server doesn't take it.
    async fn withdraw(&self, _prefix: &str) -> Result<(), LabError> {
        Ok(())
    }
}
