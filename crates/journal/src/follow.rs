//! Reading the journal while it grows.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{Entry, Journal};

/// A reader with a position of its own; see [`Journal::follow`].
#[derive(Debug)]
pub struct Follower {
    journal: Journal,
    position: u64,
    length: watch::Receiver<usize>,
}

impl Follower {
    pub(crate) fn new(journal: Journal, position: u64, length: watch::Receiver<usize>) -> Self {
        Self { journal, position, length }
    }

    /// The next entry if it is there already.
    pub fn try_next(&mut self) -> Option<Arc<Entry>> {
        let entry = self.journal.get(self.position)?;
        self.position += 1;
        Some(entry)
    }

    /// The next entry, waiting for it. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Arc<Entry> {
        loop {
            self.length.mark_unchanged();
            if let Some(entry) = self.try_next() {
                return entry;
            }
            if self.length.changed().await.is_err() {
                // This follower holds the journal, so its sender cannot be gone; wait for ever rather than spin.
                std::future::pending::<()>().await;
            }
        }
    }
}
