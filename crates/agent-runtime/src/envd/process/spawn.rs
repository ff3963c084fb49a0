//! Starting a command as a user, through [`crate::launch`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::pty::{OpenptyResult, Winsize, openpty};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::messages::{Pty, Size};
use crate::envd::accounts::Account;
use crate::launch::STARTED;

/// Everything that a start needs.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// The agent's own executable.
    pub(crate) launcher: PathBuf,
    pub(crate) account: Account,
    pub(crate) directory: PathBuf,
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) pty: Option<Pty>,
    /// Whether standard input is a pipe.
    pub(crate) stdin: bool,
}

/// A running command.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) child: Child,
    /// envd's side of the terminal, if it has one.
    pub(crate) terminal: Option<OwnedFd>,
}

/// Why a command could not be started. The texts name the program, never its arguments.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("cannot open a terminal: {0}")]
    Terminal(#[source] io::Error),
    #[error("cannot start {program:?}: {source}")]
    Start { program: String, source: io::Error },
    #[error("{0}")]
    Refused(String),
}

/// The size in the kernel's form; sides beyond its range are cut.
pub(crate) fn window(size: Size) -> Winsize {
    let side = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
    Winsize { ws_row: side(size.rows), ws_col: side(size.cols), ws_xpixel: 0, ws_ypixel: 0 }
}

/// Starts the command; returns once it runs.
pub(crate) async fn spawn(recipe: &Recipe) -> Result<Spawned, SpawnError> {
    let terminal = recipe.pty.map(open_terminal).transpose().map_err(SpawnError::Terminal)?;
    let started = |source| SpawnError::Start { program: recipe.program.clone(), source };
    let (report_end, report) = pipe::pipe().map_err(started)?;
    let mut command = command(recipe, report_end.as_raw_fd());
    let terminal = match terminal {
        Some(OpenptyResult { master, slave }) => {
            connect_terminal(&mut command, slave).map_err(SpawnError::Terminal)?;
            Some(master)
        }
        None => None,
    };
    let child = command.spawn().map_err(started)?;
    // The command holds our copies of the terminal's other side.
    drop(command);
    // A child that has ended has no number any more, and it may be that quick.
    let pid = child.id().unwrap_or_default();
    let child = confirm(child, report_end, report).await?;
    Ok(Spawned { pid, child, terminal })
}

fn open_terminal(pty: Pty) -> io::Result<OpenptyResult> {
    let pair = openpty(&window(pty.size), None)?;
    rustix::io::fcntl_setfd(&pair.master, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::fcntl_setfd(&pair.slave, rustix::io::FdFlags::CLOEXEC)?;
    Ok(pair)
}

fn connect_terminal(command: &mut Command, slave: OwnedFd) -> io::Result<()> {
    let slave = File::from(slave);
    command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
    Ok(())
}

fn command(recipe: &Recipe, report: i32) -> Command {
    let groups = recipe.account.groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut command = Command::new(&recipe.launcher);
    command
        .args(["agent-runtime", "launch", "--report"])
        .arg(Path::new("/proc").join(std::process::id().to_string()).join("fd").join(report.to_string()))
        .args(["--uid", &recipe.account.uid.to_string(), "--gid", &recipe.account.gid.to_string()])
        .args(["--groups", &groups, "--directory"])
        .arg(&recipe.directory)
        .args(recipe.pty.map(|_| "--terminal"))
        .arg("--")
        .arg(&recipe.program)
        .args(&recipe.arguments)
        .env_clear()
        .envs(&recipe.environment)
        .current_dir("/")
        .stdin(if recipe.stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Waits until the launcher has become the program, and returns the child then.
async fn confirm(
    mut child: Child,
    report_end: pipe::Sender,
    mut report: pipe::Receiver,
) -> Result<Child, SpawnError> {
    // Waiting for a child closes its standard input, unless that is kept elsewhere meanwhile.
    let stdin = child.stdin.take();
    let unreadable =
        |problem: io::Error| SpawnError::Refused(format!("cannot tell whether it started: {problem}"));
    let mut first = [0];
    tokio::select! {
        biased;
        read = report.read(&mut first) => drop(read.map_err(unreadable)?),
        status = child.wait() => {
            let status = status.map_err(unreadable)?;
            // A short-lived program may have ended before its start was noticed.
            if report.try_read(&mut first).is_err() {
                return Err(SpawnError::Refused(format!("the launcher ended with {status}")));
            }
        }
    };
    drop(report_end);
    let mut problem = String::new();
    report.read_to_string(&mut problem).await.map_err(unreadable)?;
    if first == [STARTED] && problem.is_empty() {
        child.stdin = stdin;
        return Ok(child);
    }
    child.wait().await.map_err(unreadable)?;
    Err(SpawnError::Refused(problem))
}
