//! Subscriptions to the changes of a collection.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Change, Store};

/// A watcher that falls this many changes behind is cut off; it resumes from the history.
const BUFFER: usize = 4096;

#[derive(Debug)]
pub(super) struct Watcher {
    collection: String,
    namespace: Option<String>,
    sender: mpsc::Sender<Arc<Change>>,
}

impl Watcher {
    fn wants(&self, change: &Change) -> bool {
        *self.collection == *change.address.collection
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == change.address.namespace)
    }

    /// Hands the change over; false when the watcher is gone or too slow.
    pub(super) fn offer(&self, change: &Arc<Change>) -> bool {
        if self.wants(change) {
            self.sender.try_send(Arc::clone(change)).is_ok()
        } else {
            !self.sender.is_closed()
        }
    }
}

/// The changes after a revision: those that happened already, then those to come.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) backlog: Vec<Arc<Change>>,
    pub(crate) changes: mpsc::Receiver<Arc<Change>>,
}

/// The revision asked for is older than the history.
#[derive(Debug)]
pub(crate) struct Forgotten {
    pub(crate) oldest: u64,
}

impl Store {
    /// Subscribes to the changes of a collection after revision `after`.
    pub(crate) fn subscribe(
        &mut self,
        collection: &str,
        namespace: Option<&str>,
        after: u64,
    ) -> Result<Subscription, Forgotten> {
        if after < self.forgotten {
            return Err(Forgotten { oldest: self.forgotten });
        }
        let (sender, changes) = mpsc::channel(BUFFER);
        let watcher =
            Watcher { collection: collection.to_owned(), namespace: namespace.map(str::to_owned), sender };
        let first = self.history.partition_point(|change| change.revision <= after);
        let backlog = self.history.range(first..).filter(|change| watcher.wants(change)).cloned().collect();
        self.watchers.push(watcher);
        Ok(Subscription { backlog, changes })
    }

    /// Forgets the history, as a compaction does: watches from before now answer 410.
    pub(crate) fn forget_history(&mut self) {
        self.history.clear();
        self.forgotten = self.revision;
    }

    /// Ends every open watch.
    pub(crate) fn drop_watchers(&mut self) {
        self.watchers.clear();
    }
}
