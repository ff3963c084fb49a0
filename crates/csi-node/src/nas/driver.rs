//! The driver itself.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use csi_api::NodePublishVolumeRequest;
use csi_api::volume_capability::AccessType;
use serde_json::json;
use tokio::time::timeout;

use super::attributes::{Attributes, NasVolume};
use super::export;
use super::kernel::KernelMounter;
use super::mounter::{MountFailure, Mounter, MounterKind};
use super::probe;
use super::protocol::Nfs;
use super::rpc::{Address, Patience, RpcClient};
use super::user_space::UserSpaceMounter;
use crate::driver::{Driver, Liveness, Mounted, Place, Preparation, Refusal, VolumeIdentity};
use crate::node::is_read_only;

/// How long setting permissions is waited for; after it, it goes on by itself.
const MODE_LIMIT: Duration = Duration::from_secs(1);

/// What a [`NasDriver`] needs.
#[derive(Clone, Copy, Debug)]
pub struct NasDriverOptions {
    /// The client that mounts.
    pub mounter: MounterKind,
    /// Port of NFS on every server; 2049 everywhere but in tests.
    pub port: u16,
    /// Limit of finding out whether anybody listens, and of mounting then.
    pub limit: Duration,
}

/// Mounts NAS volumes.
#[derive(Clone, Debug)]
pub struct NasDriver {
    options: NasDriverOptions,
    mounter: Arc<dyn Mounter>,
}

impl NasDriver {
    /// A driver with `options`.
    pub fn new(options: NasDriverOptions) -> Self {
        let mounter: Arc<dyn Mounter> = match options.mounter {
            MounterKind::Kernel => Arc::new(KernelMounter),
            MounterKind::UserSpace => Arc::new(UserSpaceMounter),
        };
        Self { options, mounter }
    }
}

impl Driver for NasDriver {
    fn name(&self) -> &str {
        contract::names::drivers::NAS
    }

    fn prepare(&self, request: &NodePublishVolumeRequest) -> Result<Box<dyn Preparation>, Refusal> {
        let mount_flags = match request.volume_capability.as_ref().and_then(|it| it.access_type.as_ref()) {
            Some(AccessType::Mount(mount)) => mount.mount_flags.clone(),
            _ => Vec::new(),
        };
        Ok(Box::new(Prepared {
            driver: self.clone(),
            attributes: Attributes::read(&request.volume_context),
            mount_flags,
            read_only: is_read_only(request),
        }))
    }

    fn liveness(&self) -> Liveness {
        Liveness::Served
    }
}

#[derive(Debug)]
struct Prepared {
    driver: NasDriver,
    attributes: Attributes,
    mount_flags: Vec<String>,
    read_only: bool,
}

#[async_trait]
impl Preparation for Prepared {
    fn identity(&self) -> VolumeIdentity {
        let path = self.attributes.get("path").trim_end_matches('/');
        VolumeIdentity {
            source: format!("{}:", self.attributes.get("server")),
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            read_only: self.read_only,
        }
    }

    async fn mount(self: Box<Self>, place: &Place) -> Result<Box<dyn Mounted>, Refusal> {
        let volume = NasVolume::check(&self.attributes, &self.mount_flags, self.read_only)?;
        let NasDriverOptions { mounter, port, limit } = self.driver.options;
        probe::check(&volume.server, port, limit).await?;
        let source = volume.source();
        let mounted = match timeout(limit, self.driver.mount(&volume, self.read_only, place)).await {
            Ok(mounted) => mounted?,
            Err(_) => {
                return Err(Refusal::internal(format!(
                    "mounting {source} did not end within {limit:?}: the server does not answer"
                )));
            }
        };
        tracing::info!(%source, mounter = mounter.name(), options = ?volume.options, "mounted");
        let body = json!({
            "mounter": mounter.name(),
            "source": source,
            "vers": volume.version.to_string(),
            "options": volume.options.join(","),
        });
        journal::announce(journal::source::CSI, "NasMounted", &place.path().to_string_lossy(), body);
        if let Some(mode) = volume.mode {
            set_mode(place.path(), mode).await;
        }
        Ok(mounted)
    }
}

impl NasDriver {
    async fn mount(
        &self,
        volume: &NasVolume,
        read_only: bool,
        place: &Place,
    ) -> Result<Box<dyn Mounted>, Refusal> {
        let port = self.options.port;
        let missing = match self.mounter.mount(volume, port, place).await {
            Ok(mounted) => return Ok(mounted),
            Err(MountFailure::NoPath(reason)) => reason,
            Err(failure @ MountFailure::Version(_)) => return Err(Refusal::invalid(failure.to_string())),
            Err(failure) => return Err(Refusal::internal(failure.to_string())),
        };
        let address = Address { host: volume.server.clone(), port };
        let patience = Patience { timeout: self.options.limit, retries: 0, soft: true };
        let nfs = Nfs { rpc: RpcClient::new(address.clone(), patience) };
        if read_only {
            let is_missing = export::is_missing(&nfs, &address, patience, volume).await;
            let reason = if is_missing { export::missing(volume).to_string() } else { missing };
            return Err(Refusal::internal(format!("{reason}; a read-only mount makes no directories")));
        }
        if volume.parents().is_empty() {
            return Err(Refusal::internal(missing));
        }
        export::make_path(&nfs, &address, patience, volume)
            .await
            .map_err(|error| Refusal::internal(format!("{missing}; {error}")))?;
        self.mounter
            .mount(volume, port, place)
            .await
            .map_err(|failure| Refusal::internal(failure.to_string()))
    }
}

/// Gives the mounted directory its permissions. Mounting doesn't fail for it, as little as the product's driver does.
async fn set_mode(target: &Path, mode: u32) {
    let path = target.to_owned();
    let setting = tokio::task::spawn_blocking(move || {
        if let Err(error) = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)) {
            tracing::warn!(target = %path.display(), %error, "attribute mode could not be set");
        }
    });
    match timeout(MODE_LIMIT, setting).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "setting attribute mode ended early"),
        Err(_) => {
            tracing::info!(target = %target.display(), "setting attribute mode goes on in the background");
        }
    }
}
