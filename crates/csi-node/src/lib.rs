//! The CSI node agent of a sandbox pod: Identity and Node services on one unix socket for each driver, and the file
//! systems that they mount.
//!
//! ```text
//!   helper ──gRPC──► identity, faults(node)  calls, locks, what is published where
//!                        │ driver            the boundary of a storage driver
//!                        ▼
//!                       oss ──► fs ──► s3    a bucket as a FUSE file system
//!                       nas ──► fuse         an NFS export: the kernel's client, or one of our own
//!                        │
//!                      mounts                the kernel's mount table
//! ```
//!
//! The agent runs in the csi sidecar of a pod; what it mounts below mount-root shows up in the main container by
//! mount propagation. Calls are announced to the journal, always without secrets.
#![warn(missing_docs)]

mod allocator;
mod checks;
mod command;
pub mod driver;
mod faults;
pub mod fs;
mod fuse;
mod identities;
mod identity;
mod locks;
mod mounts;
pub mod nas;
mod node;
pub mod oss;
mod place;
pub mod s3;
mod serve;
mod wait;

pub use command::main;
pub use driver::{Driver, Liveness, Mounted, Place, Preparation, Refusal, VolumeIdentity};
pub use faults::{FaultOptions, FaultOptionsError, Faults, FaultyNode};
pub use identity::IdentityService;
pub use mounts::{KernelMounts, MountTable};
pub use nas::{NasDriver, NasDriverOptions};
pub use node::{NodeOptions, NodeService};
pub use oss::{OssDriver, OssDriverOptions};
pub use serve::{ServeError, serve, socket_path};
pub use wait::{WaitError, wait};
