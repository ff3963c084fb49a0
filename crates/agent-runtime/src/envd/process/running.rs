//! A process that envd has started, and the tasks that carry its output.

use std::os::fd::OwnedFd;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin};
use tokio::sync::Mutex;

use super::fanout::Fanout;
use super::messages::{Data, End, ProcessInfo, Size};
use super::spawn::{Spawned, window};
use crate::envd::connect::{Code, RpcError};

/// The longest piece of output of a pipe, in bytes.
const PIPE_CHUNK: usize = 32 << 10;
/// The longest piece of output of a terminal, in bytes.
const TERMINAL_CHUNK: usize = 16 << 10;

/// Where input goes.
#[derive(Debug)]
enum Inlet {
    Closed,
    Pipe(ChildStdin),
    Terminal(pipe::Sender),
}

/// A process.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) info: ProcessInfo,
    pub(crate) fanout: Fanout,
    inlet: Mutex<Inlet>,
    /// For resizing, while somebody else is typing.
    terminal: Option<OwnedFd>,
}

/// Where the output of a process comes from.
#[derive(Debug)]
pub(crate) struct Outlets {
    child: Child,
    terminal: Option<pipe::Receiver>,
}

/// The two directions of a terminal, each with a descriptor of its own.
fn directions(terminal: &OwnedFd) -> std::io::Result<(pipe::Receiver, pipe::Sender)> {
    let flags = rustix::fs::fcntl_getfl(terminal)?;
    rustix::fs::fcntl_setfl(terminal, flags | rustix::fs::OFlags::NONBLOCK)?;
    // A terminal is no pipe, but these only read, write and wait.
    let receiver = pipe::Receiver::from_owned_fd_unchecked(terminal.try_clone()?)?;
    let sender = pipe::Sender::from_owned_fd_unchecked(terminal.try_clone()?)?;
    Ok((receiver, sender))
}

impl Running {
    /// Takes over a started command. The second part is to be given to [`Running::supervise`].
    pub(crate) fn new(info: ProcessInfo, spawned: Spawned) -> std::io::Result<(Self, Outlets)> {
        let Spawned { mut child, terminal, .. } = spawned;
        let directions = terminal.as_ref().map(directions).transpose()?;
        let (inlet, reader) = match (directions, child.stdin.take()) {
            (Some((reader, writer)), _) => (Inlet::Terminal(writer), Some(reader)),
            (None, Some(stdin)) => (Inlet::Pipe(stdin), None),
            (None, None) => (Inlet::Closed, None),
        };
        let running = Self { info, fanout: Fanout::default(), inlet: Mutex::new(inlet), terminal };
        Ok((running, Outlets { child, terminal: reader }))
    }

    /// Carries output until there is no more, and returns the end, which nobody has been told yet.
    pub(crate) async fn supervise(&self, outlets: Outlets) -> End {
        let Outlets { mut child, terminal } = outlets;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ((), (), (), status) = tokio::join!(
            self.carry(stdout, PIPE_CHUNK, Data::Stdout),
            self.carry(stderr, PIPE_CHUNK, Data::Stderr),
            self.carry(terminal, TERMINAL_CHUNK, Data::Pty),
            child.wait()
        );
        status.map_or_else(|problem| End::unknown(&problem), End::from_status)
    }

    /// Carries output until its end. Reading a terminal fails once nobody has its other side open: that is its end.
    async fn carry(&self, outlet: Option<impl AsyncRead + Unpin>, chunk: usize, wrap: fn(Vec<u8>) -> Data) {
        let Some(mut outlet) = outlet else { return };
        let mut buffer = vec![0; chunk];
        while let Ok(length @ 1..) = outlet.read(&mut buffer).await {
            self.fanout.publish(wrap(buffer[..length].to_vec())).await;
        }
    }

    /// Writes to standard input.
    pub(crate) async fn write(&self, bytes: &[u8]) -> Result<(), RpcError> {
        match &mut *self.inlet.lock().await {
            Inlet::Pipe(pipe) => {
                pipe.write_all(bytes).await.map_err(|problem| self.failed("write to", &problem))
            }
            Inlet::Closed => Err(self.internal("standard input is disabled or closed")),
            Inlet::Terminal(_) => Err(self.internal("it has a terminal: send the input as pty")),
        }
    }

    /// Types into the terminal.
    pub(crate) async fn type_in(&self, bytes: &[u8]) -> Result<(), RpcError> {
        match &mut *self.inlet.lock().await {
            Inlet::Terminal(terminal) => terminal
                .write_all(bytes)
                .await
                .map_err(|problem| self.failed("write to the terminal of", &problem)),
            Inlet::Pipe(_) | Inlet::Closed => Err(self.internal("it has no terminal")),
        }
    }

    /// Closes standard input; once is enough, twice is fine.
    pub(crate) async fn close_stdin(&self) -> Result<(), RpcError> {
        let mut inlet = self.inlet.lock().await;
        if matches!(*inlet, Inlet::Terminal(_)) {
            let text = self.describe("it has a terminal, which has no end: type the end-of-file character");
            return Err(RpcError::new(Code::Unknown, text));
        }
        *inlet = Inlet::Closed;
        Ok(())
    }

    /// Resizes the terminal.
    pub(crate) fn resize(&self, size: Size) -> Result<(), RpcError> {
        let Some(terminal) = &self.terminal else { return Err(self.internal("it has no terminal")) };
        let size = window(size);
        let size = Winsize { ws_row: size.ws_row, ws_col: size.ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(terminal, size).map_err(|problem| self.failed("resize the terminal of", &problem.into()))
    }

    /// Signals the process and what it has started, as far as that stayed in its group. A process that is gone is
    /// fine.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), RpcError> {
        let group = Pid::from_raw(self.info.pid.cast_signed());
        match killpg(group, signal) {
            Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
            Err(errno) => Err(self.failed("signal", &errno.into())),
        }
    }

    fn describe(&self, problem: &str) -> String {
        format!("process {}: {problem}", self.info.pid)
    }

    fn internal(&self, problem: &str) -> RpcError {
        RpcError::new(Code::Internal, self.describe(problem))
    }

    fn failed(&self, action: &str, problem: &std::io::Error) -> RpcError {
        RpcError::new(Code::Internal, format!("cannot {action} process {}: {problem}", self.info.pid))
    }
}
