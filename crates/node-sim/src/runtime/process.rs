//! One process that the shim started.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

use super::Exit;

/// A handle to a process; clones mean the same one.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pid: i32,
    /// Absent when the process had ended before it could be opened.
    descriptor: Option<Arc<OwnedFd>>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Process {
    pub(super) fn new(pid: i32, exit: watch::Receiver<Option<Exit>>) -> Self {
        let descriptor =
            Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).map(Arc::new);
        Self { pid, descriptor, exit }
    }

    /// Process id as the node sees it.
    pub(crate) fn id(&self) -> i32 {
        self.pid
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&self) -> bool {
        self.exit.borrow().is_none() && self.exit.has_changed().is_ok()
    }

    /// Sends a signal; a process that has ended is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(descriptor) = &self.descriptor
            && let Err(error) = pidfd_send_signal(descriptor, signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(pid = self.pid, ?signal, %error, "signal not delivered");
        }
    }

    /// Waits for its end. If the shim itself is gone, the process was killed with it.
    pub(crate) async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        ended.ok().and_then(|exit| *exit).unwrap_or(Exit::Signal(Signal::KILL.as_raw()))
    }
}
