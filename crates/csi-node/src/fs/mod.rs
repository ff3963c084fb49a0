//! A bucket, or a part of one, as a FUSE file system with the behaviour of ossfs.
//!
//! ```text
//!   kernel ──► dispatch   FUSE requests; what needs no store is answered at once, the rest as a task
//!                 │
//!              volume     names, renames, listing; contents: opening, reading, writing, saving
//!                 │
//!      nodes   file: unchanged ─► reader      reads ahead
//!                    stream                   written front to back, parts go out meanwhile
//!                    scratch                  changed anywhere, local sparse file over the old object
//!                 │
//!              s3::Bucket
//! ```
//!
//! What users may rely on: a file is on the store when `close` or `fsync` has returned without an error; whoever
//! opens a file sees what was closed before; within the mount a write is seen at once. A directory is the object
//! `name/`, or exists because keys begin with its name. The names of a volume are not locked against writers
//! elsewhere: the last one to close wins.

mod ahead;
mod attributes;
mod dispatch;
mod extents;
mod failure;
mod file;
mod listing;
mod media;
mod mount;
mod names;
mod nodes;
mod opening;
mod plan;
mod reader;
mod reading;
mod renames;
mod saving;
mod scratch;
mod spare;
mod stream;
mod volume;
mod writing;

pub use attributes::Shown;
pub use mount::{FuseMount, KernelFlags, MountError, MountOptions, Mountable, Service, detach};
pub use volume::{Volume, VolumeOptions};
