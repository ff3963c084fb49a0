//! The idle process: what a container without a program of its own runs.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Blocks the signals that [`until_terminated`] waits for. A blocked signal is queued even for PID 1, which otherwise
/// ignores it.
pub(super) fn await_signals() -> SigSet {
    let mut awaited = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        awaited.add(signal);
    }
    if awaited.thread_swap_mask(SigmaskHow::SIG_BLOCK).is_err() {
        std::process::exit(1);
    }
    awaited
}

/// Reaps orphans and ends at once, with exit code 0, on SIGTERM or SIGINT.
pub(super) fn until_terminated(awaited: &SigSet) -> ! {
    let _ = rustix::thread::set_name(c"idle");
    loop {
        match awaited.wait() {
            Ok(Signal::SIGCHLD) => {
                while waitpid(None, Some(WaitPidFlag::WNOHANG))
                    .is_ok_and(|status| status != WaitStatus::StillAlive)
                {}
            }
            Ok(_) => std::process::exit(0),
            Err(_) => std::process::exit(1),
        }
    }
}
