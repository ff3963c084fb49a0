//! The node's side of the shim: processes of containers as values that can be waited for and signalled.

mod process;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};

pub(crate) use crate::shim::protocol::Exit;
pub(crate) use process::Process;

use crate::enclosure::channel;
use crate::shim::protocol::{ContainerSpec, ExecSpec, Report, Request, RequestKind};

/// An executable and the arguments that come before ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// Path of the executable.
    pub path: PathBuf,
    /// Leading arguments, such as `shim`.
    pub arguments: Vec<OsString>,
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuntimeError {
    /// The shim itself could not be started or talked to.
    #[error("{action} failed")]
    Shim {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The shim has ended; nothing can be started any more.
    #[error("the shim has ended")]
    Ended,
    /// The shim tried and says which step failed.
    #[error("{0}")]
    Refused(String),
}

trait During<T> {
    fn during(self, action: &'static str) -> Result<T, RuntimeError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, action: &'static str) -> Result<T, RuntimeError> {
        self.map_err(|error| RuntimeError::Shim { action, source: error.into() })
    }
}

/// A running shim. The last clone's end takes every container down.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: Arc<AsyncFd<OwnedFd>>,
    table: Arc<Mutex<Table>>,
    next: AtomicU64,
    reader: tokio::task::AbortHandle,
    _shim: tokio::process::Child,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Debug, Default)]
struct Table {
    asked: HashMap<u64, (RequestKind, oneshot::Sender<Result<Process, RuntimeError>>)>,
    running: HashMap<i32, (RequestKind, watch::Sender<Option<Exit>>)>,
    ended: bool,
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runtime {
    /// Starts the shim. It gets no environment: a container that idles shows its parent's.
    pub(crate) fn start(program: &Program) -> Result<Self, RuntimeError> {
        let (ours, theirs) = channel::pair().during("making the shim's socket")?;
        rustix::io::ioctl_fionbio(&ours, true).during("making the shim's socket")?;
        let shim = tokio::process::Command::new(&program.path)
            .args(&program.arguments)
            .env_clear()
            .stdin(theirs)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .during("starting the shim")?;
        let socket = Arc::new(
            crate::readiness::watch(ours, Interest::READABLE | Interest::WRITABLE)
                .during("watching the shim's socket")?,
        );
        let table = Arc::<Mutex<Table>>::default();
        let reader = tokio::spawn(read_reports(socket.clone(), table.clone())).abort_handle();
        Ok(Self { shared: Arc::new(Shared { socket, table, next: AtomicU64::new(1), reader, _shim: shim }) })
    }

    /// Starts a container and returns once its program was executed.
    pub(crate) async fn run(&self, spec: &ContainerSpec, output: Output) -> Result<Process, RuntimeError> {
        self.request(RequestKind::Run, spec, output).await
    }

    /// Starts a command in a running container and returns once its program was executed.
    pub(crate) async fn exec(&self, spec: &ExecSpec, output: Output) -> Result<Process, RuntimeError> {
        self.request(RequestKind::Exec, spec, output).await
    }

    /// First processes of containers and commands that have not ended.
    pub(crate) fn running(&self) -> Vec<i32> {
        lock(&self.shared.table).running.keys().copied().collect()
    }

    /// Commands in containers that have not ended.
    pub(crate) fn commands(&self) -> Vec<i32> {
        let table = lock(&self.shared.table);
        table
            .running
            .iter()
            .filter(|(_, (kind, _))| *kind == RequestKind::Exec)
            .map(|(pid, _)| *pid)
            .collect()
    }

    async fn request<T: Serialize>(
        &self,
        kind: RequestKind,
        spec: &T,
        output: Output,
    ) -> Result<Process, RuntimeError> {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let specification = memory_file(spec).during("writing a specification")?;
        let (asked, started) = oneshot::channel();
        {
            let mut table = lock(&self.shared.table);
            if table.ended {
                return Err(RuntimeError::Ended);
            }
            table.asked.insert(id, (kind, asked));
        }
        let payload =
            serde_json::to_vec(&Request { id, kind }).map_err(io::Error::from).during("writing a request")?;
        let descriptors = [specification.as_fd(), output.standard.as_fd(), output.error.as_fd()];
        self.shared
            .socket
            .async_io(Interest::WRITABLE, |socket| channel::send(socket, &payload, &descriptors))
            .await
            .during("asking the shim")?;
        drop(output);
        started.await.unwrap_or(Err(RuntimeError::Ended))
    }
}

/// The writing ends that a process gets as standard output and standard error.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) standard: OwnedFd,
    pub(crate) error: OwnedFd,
}

fn memory_file<T: Serialize>(spec: &T) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("specification", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(&serde_json::to_vec(spec)?)?;
    file.rewind()?;
    Ok(file.into())
}

/// Takes the shim's reports until it hangs up; then nothing runs any more.
async fn read_reports(socket: Arc<AsyncFd<OwnedFd>>, table: Arc<Mutex<Table>>) {
    loop {
        let message = socket.async_io(Interest::READABLE, |socket| channel::receive(socket)).await;
        let report = match message {
            Ok(Some((payload, _))) => serde_json::from_slice::<Report>(&payload),
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, "the shim's socket failed");
                break;
            }
        };
        match report {
            Ok(report) => take(&table, report),
            Err(error) => tracing::error!(%error, "the shim said something that is no report"),
        }
    }
    let mut table = lock(&table);
    table.ended = true;
    table.asked.clear();
    table.running.clear();
}

fn take(table: &Mutex<Table>, report: Report) {
    let mut table = lock(table);
    match report {
        Report::Started { id, pid } => {
            let (ends, exit) = watch::channel(None);
            if let Some((kind, asked)) = table.asked.remove(&id) {
                table.running.insert(pid, (kind, ends));
                let _ = asked.send(Ok(Process::new(pid, exit)));
            }
        }
        Report::Failed { id, message } => {
            if let Some((_, asked)) = table.asked.remove(&id) {
                let _ = asked.send(Err(RuntimeError::Refused(message)));
            }
        }
        Report::Exited { pid, exit } => {
            if let Some((_, running)) = table.running.remove(&pid) {
                running.send_replace(Some(exit));
            }
        }
    }
}
