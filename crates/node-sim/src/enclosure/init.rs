//! The two processes that only wait: the anchor outside and PID 1 inside.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};

/// Exit code when the outside or the anchor is gone; nobody is left to see it.
const ABANDONED: i32 = 137;

/// Signals that PID 1 reads instead of being interrupted by them.
pub(super) struct Signals {
    before: SigSet,
    descriptor: SignalFd,
}

/// Blocks the signals that [`run`] reads. A blocked signal is queued even for PID 1, which otherwise ignores it.
pub(super) fn block_signals() -> Result<Signals, Errno> {
    let mut read = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        read.add(signal);
    }
    let before = read.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
    let descriptor = SignalFd::with_flags(&read, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    Ok(Signals { before, descriptor })
}

impl Signals {
    /// Restores the mask from before, in the forked program.
    pub(super) fn restore(self) -> Result<(), Errno> {
        self.before.thread_set_mask()
    }
}

/// The anchor: waits for PID 1 and ends with its exit code.
pub(super) fn pass_on(child: Pid) -> ! {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => std::process::exit(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => std::process::exit(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => std::process::exit(ABANDONED),
        }
    }
}

/// PID 1: reaps, forwards SIGTERM, and ends with the program or when the outside or the anchor is gone.
pub(super) fn run(program: Pid, signals: &Signals, outside: BorrowedFd<'_>, anchor: BorrowedFd<'_>) -> ! {
    loop {
        let mut descriptors = [
            PollFd::new(&signals.descriptor, PollFlags::IN),
            PollFd::from_borrowed_fd(outside, PollFlags::empty()),
            PollFd::from_borrowed_fd(anchor, PollFlags::empty()),
        ];
        let polled = poll(&mut descriptors, None);
        if descriptors[1..].iter().any(|descriptor| !descriptor.revents().is_empty()) {
            std::process::exit(ABANDONED);
        }
        match polled {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => std::process::exit(ABANDONED),
        }
        while let Ok(Some(signal)) = signals.descriptor.read_signal() {
            if signal.ssi_signo != Signal::SIGCHLD as u32 {
                let _ = nix::sys::signal::kill(program, Signal::SIGTERM);
            }
        }
        if let Some(code) = reap(program) {
            std::process::exit(code);
        }
    }
}

/// Reaps every process that has ended; the exit code if the program is among them.
fn reap(program: Pid) -> Option<i32> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == program => return Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => return Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) => return None,
            Err(Errno::EINTR) | Ok(_) => {}
            Err(_) => return Some(ABANDONED),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
