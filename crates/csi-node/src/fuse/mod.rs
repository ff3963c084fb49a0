//! The FUSE protocol for the NFS client.
//!
//! ```text
//!   /dev/fuse ──► session (threads that read) ──► Request ──► a file system
//!       ▲                 │ INTERRUPT ─► Interrupt of the operation it means    │
//!       └─────────────────────────────── Reply ◄────────────────────────────────┘
//! ```
//!
//! The OSS file system leaves the protocol to `fuser`. The NFS client can't: `fuser` answers INTERRUPT with "not
//! implemented", and from then on the kernel lets nobody die who waits for a server that is gone
//! (`docs/design/0007-the-nfs-client.md`).

mod interrupt;
mod operation;
mod reply;
mod session;

pub(crate) use interrupt::Interrupt;
pub(crate) use operation::{Change, Operation, Request, When};
pub(crate) use reply::{Attributes, Entry, Names, Opened, Reply, Space};
pub(crate) use session::{FileSystem, Notices, Session};
