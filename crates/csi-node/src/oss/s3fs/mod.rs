//! Mounts with the program `s3fs`, a child process for each mount.
//!
//! ```text
//!   Order ─► options (what s3fs is told) ─► folder (the key, private)
//!                                              │
//!                        process (output, end) ◄┘─► mount (waits until it answers; unmounts)
//! ```
//!
//! Everything before it (attributes, credentials, the bucket's own answer) is the same as for the built-in mounter, and so
//! are codes and texts of what fails there.

mod folder;
mod mount;
mod options;
mod process;
mod version;

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use self::version::Version;
use super::mounter::{Mounter, Order};
use super::options::{FuseOption, OptionError, Settings};
use crate::driver::{Mounted, Place, Refusal};

/// The program.
const PROGRAM: &str = "s3fs";

/// See the module.
#[derive(Debug)]
pub(super) struct S3fsMounter {
    scratch_directory: PathBuf,
    version: OnceCell<Version>,
}

impl S3fsMounter {
    /// A mounter that makes its private folders in `scratch_directory`.
    pub(super) fn new(scratch_directory: PathBuf) -> Self {
        Self { scratch_directory, version: OnceCell::new() }
    }
}

#[async_trait]
impl Mounter for S3fsMounter {
    fn settings(&self, options: &[FuseOption]) -> Result<Settings, OptionError> {
        options::settings(options)
    }

    async fn mount(&self, order: Order, place: &Place) -> Result<Box<dyn Mounted>, Refusal> {
        let version = *self.version.get_or_try_init(Version::of_program).await?;
        let mount = mount::start(order, place, version, &self.scratch_directory).await?;
        Ok(Box::new(mount))
    }
}
