//! Whether whoever waits for an operation has been told to stop.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Raised when a signal reaches the process that waits.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    raised: AtomicBool,
    changed: Notify,
}

impl Interrupt {
    /// Raises it, for good.
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Returns when it is raised.
    pub(crate) async fn raised(&self) {
        loop {
            let changed = self.changed.notified();
            if self.raised.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }
}
