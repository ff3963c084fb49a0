//! Run-time storage mounts inside a sandbox (`storage.md` §4).
//!
//! ```text
//! publish request for /data-oss
//!   1 complete it: pod UID, staging directory <mount-root>/oss/<md5 of /data-oss>
//!   2 check what is cheap to check: driver, attributes, whether a link can be made
//!   3 NodePublishVolume on the driver's socket       (in the CSI sidecar; the mount shows up below mount-root)
//!   4 make the link /data-oss ─► staging directory   (failed? NodeUnpublishVolume)
//! ```
//!
//! The HTTP route and the [`helper`] program do the same. Secrets pass through and are neither kept nor shown.

pub mod helper;

mod csi;
mod directories;
mod ledger;
mod links;
mod mount;
mod mount_root;
mod presence;
mod problem;
mod turns;
mod unmount;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use self::mount::MountOrder;
pub use self::problem::{Problem, Reason};
pub(crate) use self::unmount::UnmountOrder;

/// How long one CSI call may take, the wait for its socket included (`storage.md` §3.8).
pub const CALL_LIMIT: Duration = Duration::from_secs(30);

/// Where storage is mounted, and how.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The table of mounts, in the format of `/proc/self/mounts`.
    pub mounts: PathBuf,
    /// The last component of mount-root's path.
    pub mount_name: String,
    /// The folder with a folder per driver that holds `csi.sock`.
    pub sockets: PathBuf,
    /// The pod's UID, from the environment variable `POD_UID`.
    pub pod_uid: Option<String>,
    /// The limit of one CSI call.
    pub call_limit: Duration,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            mounts: "/proc/self/mounts".into(),
            mount_name: "mount-root".into(),
            sockets: contract::names::SOCKET_DIRECTORY.into(),
            pod_uid: std::env::var("POD_UID").ok(),
            call_limit: CALL_LIMIT,
        }
    }
}

/// Mounts and unmounts in one sandbox.
#[derive(Debug)]
pub(crate) struct Agent {
    surroundings: Surroundings,
    ledger: ledger::Ledger,
    turns: turns::Turns,
}

impl Agent {
    pub(crate) fn new(surroundings: Surroundings) -> Self {
        Self { surroundings, ledger: ledger::Ledger::default(), turns: turns::Turns::default() }
    }
}
