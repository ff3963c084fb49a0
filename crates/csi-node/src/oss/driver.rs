//! The driver itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clock::SharedClock;
use contract::names::csi_agent::OssMounter;
use csi_api::NodePublishVolumeRequest;
use csi_api::volume_capability::AccessType;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use super::attributes::{AttributeError, Attributes};
use super::built_in::BuiltInMounter;
use super::connect::{self, ConnectLimits};
use super::mounter::{Mounter, Order};
use super::options::{FuseOption, Settings};
use super::s3fs::S3fsMounter;
use super::volume::{Encryption, OssVolume};
use crate::driver::{Driver, Liveness, Mounted, Place, Preparation, Refusal, VolumeIdentity};
use crate::node::is_read_only;
use crate::s3::{Bucket, BucketOptions, Credentials, Endpoint, Limits};

/// What is left for mounting at least, however long the bucket took to answer.
const LEAST_LIMIT: Duration = Duration::from_secs(1);

/// What an [`OssDriver`] needs.
#[derive(Clone, Debug)]
pub struct OssDriverOptions {
    /// What mounts.
    pub mounter: OssMounter,
    /// Time, for signatures and new files.
    pub clock: SharedClock,
    /// Where scratch files are made, and for a moment the key that `s3fs` reads.
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
    mounter: Arc<dyn Mounter>,
}

impl OssDriver {
    /// A driver with `options`.
    pub fn new(options: OssDriverOptions) -> Self {
        let scratch_directory = options.scratch_directory.clone();
        let mounter: Arc<dyn Mounter> = match options.mounter {
            OssMounter::BuiltIn => {
                Arc::new(BuiltInMounter { scratch_directory, clock: options.clock.clone() })
            }
            OssMounter::S3fs => Arc::new(S3fsMounter::new(scratch_directory)),
        };
        Self { options, mounter }
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
            driver: self.clone(),
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
    driver: OssDriver,
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
            limits: self.driver.options.requests,
            clock: self.driver.options.clock.clone(),
        };
        Bucket::new(options).map_err(|error| Refusal::internal(error.to_string()))
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

    async fn mount(self: Box<Self>, place: &Place) -> Result<Box<dyn Mounted>, Refusal> {
        let volume = OssVolume::check(&self.attributes, &self.fs_type, self.read_only)?;
        let options = FuseOption::assemble(&volume, &self.mount_flags, self.read_only);
        let OssDriverOptions { connect, default_options, .. } = &self.driver.options;
        let options = FuseOption::with_defaults(default_options, options);
        let mounter = &self.driver.mounter;
        let settings = mounter
            .settings(&options)
            .map_err(|error| Refusal::internal(self.credentials.conceal(&error.to_string())))?;
        let bucket = self.bucket(&volume, &settings)?;
        let begun = Instant::now();
        connect::check(&bucket, &volume.prefix(), *connect).await?;
        let limit = connect.total.saturating_sub(begun.elapsed()).max(LEAST_LIMIT);
        let credentials = self.credentials.clone();
        mounter.mount(Order { volume, options, settings, bucket, credentials, limit }, place).await
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
