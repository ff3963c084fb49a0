//! The exit statuses that scripts hold on to (`interface.md`).

use std::process::ExitCode;

/// How a verb ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    /// Everything held.
    Held = 0,
    /// A scenario failed.
    Failed = 1,
    /// Wrong usage or an invalid file.
    Usage = 2,
    /// This machine can't run it.
    Machine = 3,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}
