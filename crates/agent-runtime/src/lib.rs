//! The agent inside a sandbox: E2B's envd, run-time storage mounts, and the helper that makes them by hand.
//!
//! ```text
//! sidecar `agent-runtime`        main container
//!   install --dir /mnt/envd ───►  postStart: bash /mnt/envd/envd-run.sh
//!     (copies this executable)        └─► envd on 49983
//!                                           ├─ /health /init /files …          envd, HTTP part
//!                                           ├─ /process.Process/*              commands, terminals
//!                                           ├─ /filesystem.Filesystem/*        directories, watches
//!                                           └─ /v1/storage/mounts              storage ──► CSI socket, symlink
//!                                 /mnt/envd/sandbox-runtime-storage mount …    storage ──► the same algorithm
//! ```
//!
//! The wire contract is `e2b-api.md` §9 to §13 for [`envd`], `storage.md` §3.3 to §3.5 and §4 for [`storage`].

mod announcement;
mod cli;
pub mod envd;
mod install;
mod launch;
pub mod storage;
mod wait;

pub use cli::main;
pub use contract::names::ENVD_VERSION;
