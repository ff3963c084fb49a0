//! What all requests have in common: work runs as a task, and its outcome becomes an answer.

use std::ffi::OsStr;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use fuser::{Errno, FileType, Generation, ReplyAttr, ReplyEmpty, ReplyEntry};

use super::Dispatch;
use crate::fs::failure::Outcome;
use crate::fs::volume::Volume;

/// The kernel keeps no name of a file: the volume decides itself what it believes.
pub(super) const KERNEL_KEEPS: Duration = Duration::ZERO;

/// The value of an outcome, or the end of the request with its error.
macro_rules! or_reply {
    ($outcome:expr, $reply:expr) => {
        match $outcome {
            Ok(value) => value,
            Err(error) => return $reply.error(error),
        }
    };
}
pub(super) use or_reply;

impl Dispatch {
    /// Runs `work`: as far as it needs no waiting at once, which saves waking another thread, and the rest as a task.
    pub(super) fn task<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(Arc<Volume>) -> F) {
        let mut work = Box::pin(work(Arc::clone(&self.volume)));
        let _entered = self.runtime.enter();
        // A task is polled when it begins, and says then whom to wake.
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.runtime.spawn(work);
        }
    }

    /// Runs `work`, which finds or makes an inode, as a task.
    pub(super) fn entry_task<F>(
        &self,
        reply: ReplyEntry,
        work: impl FnOnce(Arc<Volume>) -> F + Send + 'static,
    ) where
        F: Future<Output = Outcome<u64>> + Send,
    {
        self.task(|volume| async move {
            let found = work(Arc::clone(&volume)).await;
            answer_entry(&volume, found, reply);
        });
    }

    /// Runs `work`, which has nothing to tell, as a task.
    pub(super) fn empty_task<F>(
        &self,
        reply: ReplyEmpty,
        work: impl FnOnce(Arc<Volume>) -> F + Send + 'static,
    ) where
        F: Future<Output = Outcome<()>> + Send,
    {
        self.task(|volume| async move {
            match work(volume).await {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(error),
            }
        });
    }

    /// Runs `work`, which looks at the attributes of `ino` or changes them, as a task.
    pub(super) fn attr_task<F>(
        &self,
        ino: u64,
        reply: ReplyAttr,
        work: impl FnOnce(Arc<Volume>) -> F + Send + 'static,
    ) where
        F: Future<Output = Outcome<()>> + Send,
    {
        self.task(move |volume| async move {
            match work(Arc::clone(&volume)).await {
                Ok(()) => answer_attr(&volume, ino, reply),
                Err(error) => reply.error(error),
            }
        });
    }
}

/// Answers with the inode that was found.
pub(super) fn answer_entry(volume: &Volume, found: Outcome<u64>, reply: ReplyEntry) {
    match found.and_then(|ino| volume.attr(ino)) {
        Ok(attr) if attr.kind == FileType::Directory => {
            reply.entry(&volume.kernel_keeps(attr.ino.0), &attr, Generation(0));
        }
        Ok(attr) => reply.entry(&KERNEL_KEEPS, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

/// Answers with the attributes of `ino`.
pub(super) fn answer_attr(volume: &Volume, ino: u64, reply: ReplyAttr) {
    match volume.attr(ino) {
        Ok(attr) => reply.attr(&volume.kernel_keeps(ino), &attr),
        Err(error) => reply.error(error),
    }
}

/// Keys are UTF-8 text; other names can't be stored.
pub(super) fn text(name: &OsStr) -> Outcome<String> {
    name.to_str().map(str::to_owned).ok_or(Errno::EILSEQ)
}
