//! The driver itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use clock::SharedClock;
use csi_api::NodePublishVolumeRequest;
use csi_api::volume_capability::AccessType;
use http::{HeaderName, HeaderValue};
use tonic::Code;

use super::attributes::{AttributeError, Attributes};
use super::connect::{self, ConnectLimits};
use super::options::{FuseOption, Settings};
use super::volume::{Encryption, OssVolume};
use crate::driver::{Driver, Liveness, Mounted, Preparation, Refusal, VolumeIdentity, with_sources};
use crate::fs::{FuseMount, KernelFlags, MountOptions, Shown, Volume, VolumeOptions};
use crate::node::is_read_only;
use crate::s3::{Bucket, BucketOptions, Credentials, Endpoint, Limits};

/// Default size of a part, in bytes.
const PART_SIZE: u64 = 8 << 20;
/// Default number of parts on their way at once.
const PARALLEL_PARTS: usize = 4;
/// How long attributes are believed by default.
const ATTRIBUTES_LIVE: Duration = Duration::from_secs(1);

/// What an [`OssDriver`] needs.
#[derive(Clone, Debug)]
pub struct OssDriverOptions {
    /// Time, for signatures and new files.
    pub clock: SharedClock,
    /// Where scratch files are made.
    pub scratch_directory: PathBuf,
    /// Limits of a mount.
    pub connect: ConnectLimits,
    /// Limits of every later request.
    pub requests: Limits,
    /// Options of every mount for which the volume says nothing else, such as `uid` and `gid`.
    pub default_options: Vec<FuseOption>,
}

/// Mounts OSS volumes with the AccessKey of the request.
#[derive(Clone, Debug)]
pub struct OssDriver {
    options: OssDriverOptions,
}

impl OssDriver {
    /// A driver with `options`.
    pub fn new(options: OssDriverOptions) -> Self {
        Self { options }
    }
}

impl Driver for OssDriver {
    fn name(&self) -> &str {
        contract::names::drivers::OSS
    }

    fn prepare(&self, request: &NodePublishVolumeRequest) -> Result<Box<dyn Preparation>, Refusal> {
        let attributes = Attributes::read(&request.volume_context)?;
        let credentials = credentials(request)?;
        let (fs_type, mount_flags) =
            match request.volume_capability.as_ref().and_then(|it| it.access_type.as_ref()) {
                Some(AccessType::Mount(mount)) => (mount.fs_type.clone(), mount.mount_flags.clone()),
                _ => Default::default(),
            };
        Ok(Box::new(Prepared {
            options: self.options.clone(),
            attributes,
            credentials,
            fs_type,
            mount_flags,
            read_only: is_read_only(request),
        }))
    }

    fn liveness(&self) -> Liveness {
        Liveness::Answers
    }
}

fn credentials(request: &NodePublishVolumeRequest) -> Result<Credentials, AttributeError> {
    let key = |name: &'static str| {
        let value = request.secrets.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        value.ok_or(AttributeError::MissingKey(name))
    };
    Ok(Credentials::new(key("akId")?, key("akSecret")?))
}

#[derive(Debug)]
struct Prepared {
    options: OssDriverOptions,
    attributes: Attributes,
    credentials: Credentials,
    fs_type: String,
    mount_flags: Vec<String>,
    read_only: bool,
}

impl Prepared {
    fn bucket(&self, volume: &OssVolume, settings: &Settings) -> Result<Bucket, Refusal> {
        let endpoint = Endpoint::new(&settings.url, &volume.bucket, settings.region.as_deref())
            .map_err(|error| Refusal::invalid(error.to_string()))?;
        if volume.signature.as_deref() == Some("v1") {
            tracing::warn!("signatures of version 1 are not made; requests are signed with version 4");
        }
        let options = BucketOptions {
            endpoint,
            credentials: self.credentials.clone(),
            object_headers: encryption_headers(settings.encryption.as_ref())?,
            limits: self.options.requests,
            clock: self.options.clock.clone(),
        };
        Bucket::new(options).map_err(|error| Refusal::internal(error.to_string()))
    }

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
            scratch_directory: self.options.scratch_directory.clone(),
            clock: self.options.clock.clone(),
        }
    }
}

#[async_trait]
impl Preparation for Prepared {
    fn identity(&self) -> VolumeIdentity {
        let attribute = |name: &str| self.attributes.get(name).unwrap_or_default();
        VolumeIdentity {
            source: format!("{}@{}", attribute("bucket"), attribute("url").trim_end_matches('/')),
            path: self.attributes.get("path").unwrap_or("/").to_owned(),
            read_only: self.read_only,
        }
    }

    async fn mount(self: Box<Self>, target: &Path) -> Result<Box<dyn Mounted>, Refusal> {
        let volume = OssVolume::check(&self.attributes, &self.fs_type, self.read_only)?;
        let options = FuseOption::assemble(&volume, &self.mount_flags, self.read_only);
        let options = FuseOption::with_defaults(&self.options.default_options, options);
        let settings = Settings::of(&options)
            .map_err(|error| Refusal::internal(self.credentials.conceal(&error.to_string())))?;
        let bucket = self.bucket(&volume, &settings)?;
        connect::check(&bucket, &volume.prefix(), self.options.connect).await?;
        let mount_options = MountOptions {
            read_only: settings.read_only,
            allow_other: settings.allow_other,
            flags: KernelFlags { no_exec: settings.no_exec, no_atime: settings.no_atime },
        };
        let volume = Volume::new(bucket, self.volume_options(&volume, &settings));
        let target = target.to_owned();
        let started =
            tokio::task::spawn_blocking(move || FuseMount::start(volume, &target, mount_options)).await;
        let mount = started
            .map_err(|error| Refusal::internal(format!("the mount ended early: {error}")))?
            .map_err(|error| Refusal::new(Code::Internal, with_sources(&error)))?;
        Ok(Box::new(MountedVolume { mount }))
    }
}

fn encryption_headers(encryption: Option<&Encryption>) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    let kind = HeaderName::from_static("x-amz-server-side-encryption");
    Ok(match encryption {
        None => Vec::new(),
        Some(Encryption::Aes256) => vec![(kind, HeaderValue::from_static("AES256"))],
        Some(Encryption::Kms(key)) => {
            let mut headers = vec![(kind, HeaderValue::from_static("aws:kms"))];
            if let Some(key) = key {
                let value = HeaderValue::from_str(key)
                    .map_err(|_| Refusal::invalid("attribute kmsKeyId is no key id"))?;
                headers.push((HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id"), value));
            }
            headers
        }
    })
}

#[derive(Debug)]
struct MountedVolume {
    mount: FuseMount<Volume>,
}

#[async_trait]
impl Mounted for MountedVolume {
    fn has_ended(&self) -> bool {
        self.mount.has_ended()
    }

    async fn unmount(self: Box<Self>) -> Result<(), Refusal> {
        self.mount.stop().await.map_err(|error| Refusal::internal(with_sources(&error)))
    }
}
