//! The idle process: what a container without a program of its own runs.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::unix::ffi::OsStringExt as _;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::fexecve;

/// The argument after which the shim's executable does nothing else.
const VERB: &str = "idle";

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

/// Whether the shim's executable was started to idle.
pub(super) fn is_meant(args: &[std::ffi::OsString]) -> bool {
    args.last().is_some_and(|last| last == OsStr::new(VERB))
}

/// The executable of this very process, opened while it can still be seen.
pub(super) fn own_executable() -> Option<File> {
    File::open("/proc/self/exe").ok()
}

/// Starts `executable` again to idle, if this process has become an ordinary user: the kernel keeps such a user from
/// looking at what was root's before, and with that from `/proc/1/fd/1`, the container's log. Blocked signals stay blocked.
/// Returns where that is impossible; then the process idles as it is.
pub(super) fn afresh(executable: Option<File>) {
    if rustix::process::getuid().is_root() {
        return;
    }
    let Some(executable) = executable else { return };
    let words = std::env::args_os().chain([VERB.into()]);
    let arguments: Result<Vec<CString>, _> = words.map(|word| CString::new(word.into_vec())).collect();
    if let Ok(arguments) = arguments {
        let environment: &[CString] = &[];
        let _refused = fexecve(executable, &arguments, environment);
    }
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
