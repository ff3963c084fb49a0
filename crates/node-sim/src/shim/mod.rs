//! The shim: a process with a single thread that forks the processes of containers.
//!
//! ```text
//! node (many threads) ◄── one socket ──► shim server ── forks ─► set-up process ── forks ─► container's PID 1
//!                     requests, with       │ adopts what the set-up      unshares, mounts,      pivots, drops
//!                     specification and    │ process leaves behind,      says "started"         privileges, execs
//!                     output descriptors   ▼ reaps, says "exited"        and ends
//! ```
//!
//! Forking is safe only without other threads, so the node never forks by itself: it starts its own executable again
//! as `… shim`, once, and that process forks for every container and every command in a container. A fork of it costs
//! well under a millisecond and shares all its memory, where starting the executable anew would cost both each time.
//! The server is a child subreaper: a container's first process becomes its child when the set-up process ends, and
//! is reaped by it, so nothing interferes with the children of the node's own runtime.

mod error;
mod idle;
mod privileges;
mod process;
pub(crate) mod protocol;
mod root;
mod server;
mod setup;
mod volumes;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the shim until the node that started it hangs up. The work arrives over standard input, which has to be the
/// node's socket; `args` is empty, or asks to be the idle process of a container.
#[allow(clippy::needless_pass_by_value, reason = "the signature that every component's command line has")]
pub fn main(args: Vec<OsString>) -> ExitCode {
    if idle::is_meant(&args) {
        idle::until_terminated(&idle::await_signals());
    }
    match server::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shim: {}", error.chain());
            ExitCode::from(125)
        }
    }
}
