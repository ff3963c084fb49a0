//! The two ways to mount NFS.

use std::fmt::Debug;
use std::fs;

use async_trait::async_trait;
use thiserror::Error;

use super::attributes::{NasVolume, NfsVersion};
use crate::driver::{Mounted, Place, Refusal};

/// Which client mounts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MounterKind {
    /// The kernel's own.
    Kernel,
    /// The one in this program, over FUSE.
    UserSpace,
}

impl MounterKind {
    /// The kernel's client where there is one, else our own.
    pub fn of_this_machine() -> Self {
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if has_nfs(&known) { Self::Kernel } else { Self::UserSpace }
    }

    /// The name under which the log and the journal speak of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::UserSpace => "user-space",
        }
    }
}

/// Whether `known`, the text of `/proc/filesystems`, has version 3.
fn has_nfs(known: &str) -> bool {
    known.lines().any(|line| line.split_whitespace().last() == Some("nfs"))
}

/// A mount that failed.
#[derive(Debug, Error)]
pub(super) enum MountFailure {
    /// The server says that there is no such path, or that it may not be mounted: it may have to be made first.
    #[error("{0}")]
    NoPath(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
    /// This client doesn't speak that version.
    #[error("vers {0} needs the kernel's NFS client, which this machine does not have; vers=3 works without")]
    Version(NfsVersion),
}

impl From<Refusal> for MountFailure {
    fn from(refusal: Refusal) -> Self {
        Self::Other(refusal.message)
    }
}

/// A client that mounts exports.
#[async_trait]
pub(super) trait Mounter: Debug + Send + Sync + 'static {
    /// Clears `place` and mounts `volume`, whose server listens on `port`, there.
    ///
    /// # Errors
    /// When the server or the kernel refuses. Nothing is left behind then.
    async fn mount(
        &self,
        volume: &NasVolume,
        port: u16,
        place: &Place,
    ) -> Result<Box<dyn Mounted>, MountFailure>;
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("nodev\tsysfs\n\text4\nnodev\tnfs\nnodev\tnfs4\n", true)]
    #[case("nodev\tnfs4\n", false)]
    #[case("nodev\tnfsd\n\text4\n", false)]
    #[case("", false)]
    fn machines(#[case] known: &str, #[case] expected: bool) {
        assert_eq!(has_nfs(known), expected);
    }
}
