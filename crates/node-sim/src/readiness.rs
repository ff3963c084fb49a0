//! Waiting for descriptors that the runtime has no type of its own for.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Descriptors that stay open and keep their number as long as the value lives.
pub(crate) trait Steady: AsRawFd {}

impl Steady for OwnedFd {}
impl Steady for File {}

/// Registers a descriptor with the runtime.
pub(crate) fn watch<T: Steady>(descriptor: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: what is asked for is that the descriptor stays open and the same until it is deregistered; both types
    // own theirs, and `AsyncFd` deregisters before it drops them.
    #[allow(unsafe_code, reason = "the runtime can't check by itself that a descriptor is owned")]
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    Ok(registered?)
}
