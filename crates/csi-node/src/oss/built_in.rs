//! Mounts with the file system in this program.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use clock::SharedClock;

use super::mounter::{Mounter, Order};
use super::options::{FuseOption, OptionError, Settings};
use super::volume::OssVolume;
use crate::driver::{Mounted, Place, Refusal, with_sources};
use crate::fs::{FuseMount, KernelFlags, MountOptions, Shown, Volume, VolumeOptions};

/// Default size of a part, in bytes.
const PART_SIZE: u64 = 8 << 20;
/// Default number of parts on their way at once.
const PARALLEL_PARTS: usize = 4;
/// How long attributes are believed by default.
const ATTRIBUTES_LIVE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct BuiltInMounter {
    /// Where scratch files are made.
    pub(super) scratch_directory: PathBuf,
    /// Time, for new files.
    pub(super) clock: SharedClock,
}

impl BuiltInMounter {
    fn volume_options(&self, volume: &OssVolume, settings: &Settings) -> VolumeOptions {
        let root_mode = match settings.root_umask {
            _ if !settings.allow_other => 0o700,
            Some(mask) => 0o777 & !mask,
            None => 0o777,
        };
        VolumeOptions {
            prefix: volume.prefix(),
            shown: Shown { umask: settings.umask, uid: settings.uid, gid: settings.gid },
            root_mode,
            part_size: settings.part_size.unwrap_or(PART_SIZE),
            parallel_parts: settings.parallel_parts.unwrap_or(PARALLEL_PARTS),
            attributes_live: settings.attributes_live.unwrap_or(ATTRIBUTES_LIVE).min(ATTRIBUTES_LIVE),
            scratch_directory: self.scratch_directory.clone(),
            clock: self.clock.clone(),
        }
    }
}

#[async_trait]
impl Mounter for BuiltInMounter {
    fn settings(&self, options: &[FuseOption]) -> Result<Settings, OptionError> {
        Settings::of(options)
    }

    async fn mount(&self, order: Order, place: &Place) -> Result<Box<dyn Mounted>, Refusal> {
        let Order { volume, settings, bucket, .. } = order;
        let mount_options = MountOptions {
            read_only: settings.read_only,
            allow_other: settings.allow_other,
            flags: KernelFlags { no_exec: settings.no_exec, no_atime: settings.no_atime },
        };
        let volume = Volume::new(bucket, self.volume_options(&volume, &settings));
        let target = place.path().to_owned();
        place.clear().await?;
        let started =
            tokio::task::spawn_blocking(move || FuseMount::start(volume, &target, mount_options)).await;
        let mount = started
            .map_err(|error| Refusal::internal(format!("the mount ended early: {error}")))?
            .map_err(|error| Refusal::internal(with_sources(&error)))?;
        Ok(Box::new(BuiltInMount { mount }))
    }
}

#[derive(Debug)]
struct BuiltInMount {
    mount: FuseMount<Volume>,
}

#[async_trait]
impl Mounted for BuiltInMount {
    fn has_ended(&self) -> bool {
        self.mount.has_ended()
    }

    async fn unmount(self: Box<Self>) -> Result<(), Refusal> {
        self.mount.stop().await.map_err(|error| Refusal::internal(with_sources(&error)))
    }
}
