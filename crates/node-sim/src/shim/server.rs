//! The server: takes requests, forks set-up processes, adopts and reaps.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rustix::event::{PollFd, PollFlags, poll};

use super::error::{At as _, ShimError};
use super::protocol::{Exit, Report, Request};
use super::setup;
use crate::enclosure::channel;

/// Serves the node on standard input until it hangs up.
pub(super) fn serve() -> Result<(), ShimError> {
    let socket =
        rustix::stdio::stdin().try_clone_to_owned().at(|| "taking the node's socket from standard input")?;
    let nothing = OpenOptions::new().read(true).open("/dev/null").at(|| "opening /dev/null")?;
    rustix::stdio::dup2_stdin(nothing).at(|| "emptying standard input")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).at(|| "becoming a subreaper")?;
    let server = Server { socket, children: child_signals()?, set_ups: HashMap::new() };
    server.run()
}

fn child_signals() -> Result<SignalFd, ShimError> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_swap_mask(SigmaskHow::SIG_BLOCK).at(|| "blocking SIGCHLD")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .at(|| "opening a signal descriptor")
}

struct Server {
    socket: OwnedFd,
    children: SignalFd,
    /// Set-up processes that have not ended, with their requests.
    set_ups: HashMap<Pid, u64>,
}

impl Server {
    fn run(mut self) -> Result<(), ShimError> {
        loop {
            let mut descriptors =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.children, PollFlags::IN)];
            match poll(&mut descriptors, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(ShimError::new("waiting for work", error)),
            }
            let asked = !descriptors[0].revents().is_empty();
            while let Ok(Some(_)) = self.children.read_signal() {}
            self.reap()?;
            if !asked {
                continue;
            }
            let Some((request, descriptors)) = self.take_request()? else {
                kill_children();
                return Ok(());
            };
            // SAFETY: the server has a single thread, so its child may do anything it may do itself.
            #[allow(unsafe_code, reason = "a container begins with a fork; see the module's documentation")]
            match unsafe { fork() } {
                Ok(ForkResult::Parent { child }) => {
                    self.set_ups.insert(child, request.id);
                }
                Ok(ForkResult::Child) => {
                    let Self { socket, children, .. } = self;
                    drop(children);
                    restore_signals();
                    setup::run(socket, request, descriptors)
                }
                Err(error) => {
                    self.report(&Report::Failed { id: request.id, message: format!("forking: {error}") })?;
                }
            }
        }
    }

    /// The next request; `None` when the node is gone.
    fn take_request(&self) -> Result<Option<(Request, Vec<OwnedFd>)>, ShimError> {
        let (payload, descriptors) = match channel::receive(&self.socket) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(ShimError::new("receiving a request", error)),
        };
        let request =
            serde_json::from_slice(&payload).map_err(std::io::Error::from).at(|| "reading a request")?;
        Ok(Some((request, descriptors)))
    }

    /// Reaps every process that has ended and reports those that are no set-up processes.
    fn reap(&mut self) -> Result<(), ShimError> {
        loop {
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Exit::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Exit::Signal(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(error) => return Err(ShimError::new("reaping", error)),
            };
            match self.set_ups.remove(&pid) {
                // It has reported by itself.
                Some(_) if exit == Exit::Code(0) => {}
                Some(id) => {
                    let message = format!("the set-up process ended with {exit:?}");
                    self.report(&Report::Failed { id, message })?;
                }
                None => self.report(&Report::Exited { pid: pid.as_raw(), exit })?,
            }
        }
    }

    fn report(&self, report: &Report) -> Result<(), ShimError> {
        send(&self.socket, report)
    }
}

/// Sends one report to the node.
pub(super) fn send(socket: &OwnedFd, report: &Report) -> Result<(), ShimError> {
    let payload = serde_json::to_vec(report).map_err(std::io::Error::from).at(|| "writing a report")?;
    match channel::send(socket, &payload, &[]) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        sent => sent.at(|| "sending a report"),
    }
}

/// What a program expects of its signals: none blocked, and a broken pipe kills.
fn restore_signals() {
    let _ = SigSet::empty().thread_set_mask();
    // SAFETY: setting the default action installs no handler, so no code of ours runs in signal context.
    #[allow(unsafe_code, reason = "the standard library ignores SIGPIPE, and programs inherit that")]
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
}

/// Kills every container's first process; the kernel kills the rest of each.
fn kill_children() {
    let children = format!("/proc/self/task/{}/children", std::process::id());
    let Ok(list) = std::fs::read_to_string(children) else { return };
    for pid in list.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
