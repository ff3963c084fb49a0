//! The OSS driver: a publish request of an OSS volume, as a mounted bucket.
//!
//! ```text
//!   request ─► attributes (read, any case, trimmed) ─► volume (checked) ─► options (user's before driver's)
//!                  │ credentials                                              │
//!                  └──────────────────► connect (bucket asked) ─► fs::FuseMount
//! ```

mod attributes;
mod connect;
mod driver;
mod options;
mod volume;

pub use attributes::{AttributeError, Attributes};
pub use connect::{ConnectError, ConnectLimits};
pub use driver::{OssDriver, OssDriverOptions};
pub use options::{FuseOption, OptionError, Settings};
pub use volume::{Encryption, OssVolume};
