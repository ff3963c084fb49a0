//! What a place to run scenarios in must offer: one trait, implemented once per backend.
//!
//! ```text
//! cli ──► scenario ──► lab (this trait) ◄── lab-embedded, lab-kind, lab-cluster
//! ```
//!
//! The engine sees a lab only through [`Lab`]: addresses to talk to over the network, the journal, and the few
//! things that no public API of the system offers (mount tables, faults, the clock). What a backend cannot do it
//! says before the run, in [`Backend::missing`].

mod access;
mod backend;
mod error;
mod fault;
mod hibernation;
mod kill;
mod listener;
mod mount_table;
mod mounts;
mod outage;
mod requirement;
mod sharing;
mod storage;

pub use access::{Access, NetworkFileSystem, ObjectStore};
pub use backend::{Backend, Capability, Lab, Leftover, UpOptions};
pub use error::{LabError, chain};
pub use fault::{
    CapacityFault, CsiCall, CsiCode, CsiEffect, CsiFault, Fault, FaultHandle, NasFault, OssFault,
};
pub use hibernation::Kept;
pub use kill::{Component, KillFault};
pub use listener::Listener;
pub use mount_table::{MountLine, parse_mount_table};
pub use mounts::Mount;
pub use outage::{Outage, StorageServer};
pub use requirement::Requirement;
pub use sharing::{SharedPart, Sharing};
pub use storage::{ExportAccess, ExportCall, ExportEntry, ExportOptions, ExportReply, Squash};
