//! Mounts with the client in this program.

use std::sync::Arc;

use async_trait::async_trait;

use super::attributes::{NasVolume, NfsVersion};
use super::client::Share;
use super::export::{self, ExportError};
use super::mounter::{MountFailure, Mounter};
use super::options::NfsOptions;
use super::protocol::Nfs;
use super::rpc::{Address, Caller, Patience, RpcClient};
use crate::driver::{Mounted, Place, Refusal, with_sources};
use crate::fs::{FuseMount, KernelFlags, MountOptions};

/// See the module.
#[derive(Debug)]
pub(super) struct UserSpaceMounter;

impl From<ExportError> for MountFailure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Missing { .. } | ExportError::Denied { .. } => Self::NoPath(error.to_string()),
            ExportError::Other { .. } | ExportError::Make { .. } => Self::Other(error.to_string()),
        }
    }
}

#[async_trait]
impl Mounter for UserSpaceMounter {
    async fn mount(
        &self,
        volume: &NasVolume,
        port: u16,
        place: &Place,
    ) -> Result<Box<dyn Mounted>, MountFailure> {
        if volume.version != NfsVersion::V3 {
            return Err(MountFailure::Version(volume.version));
        }
        let other = |error: &dyn std::error::Error| MountFailure::Other(with_sources(error));
        let mut options = NfsOptions::read(&volume.options).map_err(|error| other(&error))?;
        let address = Address { host: volume.server.clone(), port: options.port.unwrap_or(port) };
        let patience = Patience { timeout: options.timeout, retries: options.retries, soft: options.soft };
        let nfs = Nfs { rpc: RpcClient::new(address.clone(), patience) };
        let root = export::handle_of(&nfs, &address, patience, &volume.path).await?;
        let properties = nfs.properties(&Caller::ROOT, &root).await.map_err(|error| other(&error))?;
        options.read_size = options.read_size.min(properties.rtmax.max(1));
        options.write_size = options.write_size.min(properties.wtmax.max(1));
        let attributes = nfs.attributes(&Caller::ROOT, &root).await.map_err(|error| other(&error))?;
        let share = Share::new(nfs, options, root, attributes, volume.source());
        let mount_options = MountOptions {
            read_only: options.read_only,
            allow_other: true,
            flags: KernelFlags { no_exec: options.no_exec, no_atime: false },
        };
        let target = place.path().to_owned();
        place.clear().await?;
        let started =
            tokio::task::spawn_blocking(move || FuseMount::start(share, &target, mount_options)).await;
        let mount = started
            .map_err(|error| MountFailure::Other(format!("the mount ended early: {error}")))?
            .map_err(|error| other(&error))?;
        Ok(Box::new(UserSpaceMount { mount }))
    }
}

#[derive(Debug)]
struct UserSpaceMount {
    mount: FuseMount<Share>,
}

#[async_trait]
impl Mounted for UserSpaceMount {
    fn has_ended(&self) -> bool {
        self.mount.has_ended()
    }

    async fn unmount(self: Box<Self>) -> Result<(), Refusal> {
        let share = Arc::clone(self.mount.served());
        let outcome = self.mount.stop().await;
        // Whatever still waits for the server has nobody to wait for.
        share.end();
        outcome.map_err(|error| Refusal::internal(with_sources(&error)))
    }
}
