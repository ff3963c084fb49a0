//! What only the maker of a cluster can do: at its node, and to the servers beside it.

use async_trait::async_trait;
use lab::{Capability, ExportOptions, LabError, Outage, StorageServer};
use lab_cluster::Powers;

use crate::storage::ServersApart;
use crate::{Container, Docker, KindError, Minio, NfsExport, NfsServer};

/// What containerd says of a container that doesn't run.
const NO_TASK: &str = "no running task found";

/// The ways to the node and to the storage servers.
pub(crate) struct OwnPowers {
    pub(crate) docker: Docker,
    /// The node's container.
    pub(crate) node: String,
    pub(crate) minio: Minio,
    pub(crate) nfs: NfsServer,
    /// Those among them that one lab has alone.
    pub(crate) apart: Option<ServersApart>,
}

impl OwnPowers {
    fn container(&self, server: StorageServer) -> &Container {
        match server {
            StorageServer::ObjectStore => self.minio.container(),
            StorageServer::NetworkFileSystem => self.nfs.container(),
        }
    }

    /// Starts a server again that was ended, and waits until it answers where it did before: volumes name its address.
    async fn back(&self, server: StorageServer) -> Result<(), KindError> {
        let before = match server {
            StorageServer::ObjectStore => self.minio.address(),
            StorageServer::NetworkFileSystem => self.nfs.address(),
        };
        let container = self.container(server);
        container.start_again().await?;
        let now = container.address().await?;
        if now != before {
            return Err(KindError::program(
                format!("starting {} again", container.name()),
                format!("its address was {before} and is {now} now, so that no volume leads to it any more"),
            ));
        }
        self.until_healthy(server).await
    }

    async fn until_healthy(&self, server: StorageServer) -> Result<(), KindError> {
        match server {
            StorageServer::ObjectStore => self.minio.until_healthy().await,
            StorageServer::NetworkFileSystem => self.nfs.until_healthy().await,
        }
    }
}

#[async_trait]
impl Powers for OwnPowers {
    fn capabilities(&self) -> Vec<Capability> {
        vec![
            Capability::NetworkFileSystem,
            Capability::ExportRules,
            Capability::StorageOutages,
            Capability::ProcessFaults,
            Capability::ComponentFaults,
            Capability::SystemConfiguration,
        ]
    }

    async fn kill(&self, container_id: &str) -> Result<(), LabError> {
        // `containerd://ID`, as a pod's status has it.
        let id = container_id.rsplit('/').next().unwrap_or(container_id);
        let words = ["ctr", "-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id];
        match self.docker.exec(&self.node, &words).await {
            Err(KindError::Program { reason, .. }) if reason.contains(NO_TASK) => {
                Err(LabError::NotFound { what: "running container".to_owned(), name: id.to_owned() })
            }
            outcome => outcome.map(drop).map_err(LabError::from),
        }
    }

    async fn begin_outage(&self, server: StorageServer, outage: Outage) -> Result<(), LabError> {
        let container = self.container(server);
        match outage {
            Outage::Gone => container.kill().await?,
            Outage::Hang => container.pause().await?,
            Outage::Restart => {
                container.kill().await?;
                self.back(server).await?;
            }
        }
        Ok(())
    }

    async fn end_outage(&self, server: StorageServer, outage: Outage) -> Result<(), LabError> {
        match outage {
            Outage::Gone => self.back(server).await?,
            Outage::Hang => {
                self.container(server).unpause().await?;
                self.until_healthy(server).await?;
            }
            Outage::Restart => {}
        }
        Ok(())
    }

    async fn export(&self, path: &str, options: ExportOptions) -> Result<(), LabError> {
        let export = NfsExport { path: path.to_owned(), options };
        Ok(self.nfs.offer(export).await?)
    }

    async fn lab_is_gone(&self) -> Result<(), LabError> {
        match &self.apart {
            Some(apart) => Ok(apart.remove().await?),
            None => Ok(()),
        }
    }

    async fn withdraw(&self, prefix: &str) -> Result<(), LabError> {
        Ok(self.nfs.withdraw(prefix).await?)
    }
}
