//! Running a container's process, and commands in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::logs::{Pipes, Sink};
use crate::runtime::{Process, Runtime, RuntimeError};
use crate::shim::protocol::{ExecSpec, ProcessSpec};

/// How much of a command's output is kept for messages.
const KEPT_OUTPUT: usize = 4096;
/// How much of each output of a command is kept for whoever asked for it.
const MOST_OUTPUT: u64 = 8 << 20;

/// A container's first process with what a command in the container needs to know.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) privileged: bool,
    /// Environment, user and the rest, taken over by commands.
    pub(crate) template: ProcessSpec,
    /// The attempt's folder, with the writable layers of its root.
    pub(crate) place: PathBuf,
}

/// What became of a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CommandEnd {
    pub(crate) code: i32,
    pub(crate) output: String,
}

/// Why a command has no end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// It was never started.
    #[error(transparent)]
    Start(#[from] RuntimeError),
    /// The container has ended.
    #[error("the container is not running")]
    NotRunning,
    /// The container's processes are stopped.
    #[error("the pod hibernates: wake its sandbox up first")]
    Hibernates,
    /// Its pipes could not be made.
    #[error("making pipes for a command failed")]
    Pipes(#[source] std::io::Error),
    /// It was killed because it took too long.
    #[error("command {command:?} timed out after {limit:?}")]
    Timeout {
        /// The program.
        command: String,
        /// The limit.
        limit: Duration,
    },
}

/// Both outputs of a command, each cut after some megabytes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) standard: Vec<u8>,
    pub(crate) error: Vec<u8>,
}

/// Runs `command` in the container with its environment and user, and keeps what it writes. `limit` is real time.
pub(crate) async fn output_of(
    runtime: &Runtime,
    container: &Running,
    command: &[String],
    limit: Duration,
) -> Result<Output, CommandError> {
    let process = ProcessSpec { args: command.to_vec(), ..container.template.clone() };
    let spec = ExecSpec { container: container.process.id(), privileged: container.privileged, process };
    let (pipes, output) = Pipes::new().map_err(CommandError::Pipes)?;
    let process = runtime.exec(&spec, output).await?;
    let ended = async { tokio::join!(process.wait(), pipes.collect(MOST_OUTPUT)) };
    let Ok((exit, (standard, error))) = tokio::time::timeout(limit, ended).await else {
        process.signal(Signal::KILL);
        return Err(CommandError::Timeout { command: command.first().cloned().unwrap_or_default(), limit });
    };
    Ok(Output { code: exit.code(), standard, error })
}

/// Runs `command` in the container with its environment and user. What it leaves running keeps writing to `sink`
/// until it ends; waiting is for the command itself only. `limit` is real time.
pub(crate) async fn run_command(
    runtime: &Runtime,
    container: &Running,
    command: &[String],
    sink: Sink,
    limit: Option<Duration>,
) -> Result<CommandEnd, CommandError> {
    let process = ProcessSpec { args: command.to_vec(), ..container.template.clone() };
    let spec = ExecSpec { container: container.process.id(), privileged: container.privileged, process };
    let (pipes, output) = Pipes::new().map_err(CommandError::Pipes)?;
    let process = runtime.exec(&spec, output).await?;
    let captured = Arc::new(crate::logs::Capture::new(KEPT_OUTPUT));
    let drained = tokio::spawn(pipes.drain(sink.capturing(captured.clone())));
    let code = match limit {
        None => process.wait().await.code(),
        Some(limit) => {
            let Ok(exit) = tokio::time::timeout(limit, process.wait()).await else {
                process.signal(Signal::KILL);
                let command = command.first().cloned().unwrap_or_default();
                return Err(CommandError::Timeout { command, limit });
            };
            exit.code()
        }
    };
    // The last words may still be in the pipe; a process left running would keep it open for ever.
    let _ = tokio::time::timeout(Duration::from_millis(20), drained).await;
    Ok(CommandEnd { code, output: captured.text() })
}
