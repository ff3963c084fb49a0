//! The OSS driver: a publish request of an OSS volume, as a mounted bucket.
//!
//! ```text
//!   request ─► attributes (read, any case, trimmed) ─► volume (checked) ─► options (user's before driver's)
//!                  │ credentials                                              │
//!                  └──────────────────► connect (bucket asked) ─► mounter ─┬► built_in ─► fs::FuseMount
//!                                                                       └► s3fs, a child process
//! ```

mod attributes;
mod built_in;
mod connect;
mod driver;
mod mounter;
mod options;
mod s3fs;
mod volume;

pub use attributes::{AttributeError, Attributes};
pub use connect::{ConnectError, ConnectLimits};
pub use driver::{OssDriver, OssDriverOptions};
pub use options::{FuseOption, OptionError, Settings};
pub use volume::{Encryption, OssVolume};
