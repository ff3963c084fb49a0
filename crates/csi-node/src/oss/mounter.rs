//! The two ways to mount a bucket.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::options::{FuseOption, OptionError, Settings};
use super::volume::OssVolume;
use crate::driver::{Mounted, Place, Refusal};
use crate::s3::{Bucket, Credentials};

/// A bucket to be mounted: its volume is checked, and it has answered.
#[derive(Debug)]
pub(super) struct Order {
    /// The volume.
    pub(super) volume: OssVolume,
    /// All options, in order.
    pub(super) options: Vec<FuseOption>,
    /// What they amount to.
    pub(super) settings: Settings,
    /// The bucket.
    pub(super) bucket: Bucket,
    /// The key that it has answered to.
    pub(super) credentials: Credentials,
    /// How long mounting may take.
    pub(super) limit: Duration,
}

/// What mounts buckets.
#[async_trait]
pub(super) trait Mounter: Debug + Send + Sync + 'static {
    /// Understands `options`; of several with the same name the last one counts.
    ///
    /// # Errors
    /// The first option that this mounter can't follow.
    fn settings(&self, options: &[FuseOption]) -> Result<Settings, OptionError>;

    /// Clears `place` and mounts there; returns once the mount answers.
    ///
    /// # Errors
    /// When it can't be mounted. Nothing is left behind then.
    async fn mount(&self, order: Order, place: &Place) -> Result<Box<dyn Mounted>, Refusal>;
}
