//! Why an enclosure could not be made.

use std::io;

/// An error of [`super::spawn`] or [`super::enter`].
#[derive(Debug, thiserror::Error)]
pub enum EnclosureError {
    /// A step of the set-up was refused by the kernel.
    #[error("enclosure: {step} failed{}", remedy(step, source))]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The program was not started by [`super::spawn`].
    #[error(
        "enclosure: standard input is not the socket of an enclosure; start this program with enclosure::spawn"
    )]
    NotSpawned,
    /// The outside ended while the inside was being set up.
    #[error("enclosure: the process that started it is gone")]
    OutsideGone,
    /// The user and group ids could not be mapped.
    #[error("enclosure: mapping user ids failed: {reason}")]
    Identities {
        /// What went wrong outside.
        reason: String,
    },
}

fn remedy(step: &str, source: &io::Error) -> &'static str {
    let refused = source.raw_os_error() == Some(nix::errno::Errno::EPERM as i32);
    let exhausted = source.raw_os_error() == Some(nix::errno::Errno::ENOSPC as i32);
    match (step, refused, exhausted) {
        ("unsharing the user namespace", true, _) => {
            "; unprivileged user namespaces are switched off here: run as root or enable them"
        }
        (_, _, true) => "; the limit in /proc/sys/user is reached",
        _ => "",
    }
}

/// Names the step that an error of the kernel belongs to.
pub(super) trait At<T> {
    /// The value, or [`EnclosureError::Step`].
    fn at(self, step: &'static str) -> Result<T, EnclosureError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: &'static str) -> Result<T, EnclosureError> {
        self.map_err(|error| EnclosureError::Step { step, source: error.into() })
    }
}
