//! What a storage driver is to the node service.
//!
//! ```text
//!   Driver ──prepare──► Preparation ──mount──► Mounted ──unmount──► ()
//!   (one per socket)    (request read,         (lives until it is unpublished
//!                        nothing touched)       or the process ends)
//! ```
//!
//! Every step is a trait object: the node service's order of work is tested without a store or a kernel.

use std::fmt::Debug;

use async_trait::async_trait;
use csi_api::NodePublishVolumeRequest;
use thiserror::Error;
use tonic::{Code, Status};

pub use crate::place::Place;

/// A call that is refused or failed: what the caller gets to see. Never with a secret in it.
#[derive(Clone, Debug, Error)]
#[error("{message}")]
pub struct Refusal {
    /// gRPC code.
    pub code: Code,
    /// What is wrong, and with what.
    pub message: String,
}

impl Refusal {
    /// A refusal with `code`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A request that can't be carried out as it is.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// Something that failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}

/// What a volume is, as far as two publications to one target are compared (`storage.md` §6.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VolumeIdentity {
    /// Bucket and endpoint, or server.
    pub source: String,
    /// Path within.
    pub path: String,
    /// Whether nobody may write.
    pub read_only: bool,
}

/// A storage driver.
pub trait Driver: Debug + Send + Sync + 'static {
    /// The name that persistent volumes carry in `spec.csi.driver`.
    fn name(&self) -> &str;

    /// Reads `request` as far as is done before its target is looked at: attributes are parsed, credentials are
    /// there.
    ///
    /// # Errors
    /// When the request can't be this driver's.
    fn prepare(&self, request: &NodePublishVolumeRequest) -> Result<Box<dyn Preparation>, Refusal>;

    /// What a mount that is found at the target must prove.
    fn liveness(&self) -> Liveness;
}

/// What a mount that is found at a target must prove, so as not to be replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Liveness {
    /// That it answers.
    Answers,
    /// That somebody still serves it, even if the server behind it is silent: its users' writes wait there.
    Served,
}

/// A request that has been read.
#[async_trait]
pub trait Preparation: Debug + Send {
    /// What would be mounted.
    fn identity(&self) -> VolumeIdentity;

    /// Checks the rest of the attributes and mounts at `place`, which it clears last, right before it mounts.
    ///
    /// # Errors
    /// When an attribute is wrong, the store refuses or can't be reached within the driver's limit, or the kernel
    /// refuses. Nothing is left behind then.
    async fn mount(self: Box<Self>, place: &Place) -> Result<Box<dyn Mounted>, Refusal>;
}

/// A mounted volume.
#[async_trait]
pub trait Mounted: Debug + Send + Sync {
    /// Whether it is gone, because somebody else unmounted it.
    fn has_ended(&self) -> bool;

    /// Saves what is not saved yet and unmounts, within a limit.
    ///
    /// # Errors
    /// When it can't be unmounted.
    async fn unmount(self: Box<Self>) -> Result<(), Refusal>;
}

/// An error with its causes, in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
