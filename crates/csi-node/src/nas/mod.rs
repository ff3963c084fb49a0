//! The NAS driver: a publish request of a NAS volume, as a mounted NFS export.
//!
//! ```text
//!   request ─► attributes (checked) ─► probe ─► mounter: kernel, or user_space ─► client (over rpc)
//!                                                  │ no such path
//!                                                  └──► export (makes it) ──► again
//! ```

mod attributes;
mod client;
mod driver;
mod export;
mod kernel;
mod mounter;
mod options;
mod probe;
mod protocol;
mod rpc;
mod user_space;

pub use attributes::{Attributes, NasVolume, NfsVersion, VolumeError};
pub use driver::{NasDriver, NasDriverOptions};
pub use mounter::MounterKind;
pub use options::{Believed, NfsOptions, OptionError};
