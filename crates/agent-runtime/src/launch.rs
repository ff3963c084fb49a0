//! The last step of a process start, in the new process: its session, terminal, user and directory, then `exec`.
//!
//! envd starts itself with `launch` instead of calling these between `fork` and `exec`: that needs no unsafe code.
//! The outcome goes to `--report`, envd's end of a pipe named through `/proc`. It is opened close-on-exec, so an
//! `exec` that succeeds shows as [`STARTED`] and then the end of the pipe, one that fails as a text in between.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};

/// What is written to the report once it is open.
pub(crate) const STARTED: u8 = b'+';

/// What to become.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Where to report the outcome.
    #[arg(long)]
    report: PathBuf,
    /// The user to become.
    #[arg(long)]
    uid: u32,
    /// The main group to take.
    #[arg(long)]
    gid: u32,
    /// The supplementary groups to take.
    #[arg(long, value_delimiter = ',')]
    groups: Vec<u32>,
    /// The working directory.
    #[arg(long)]
    directory: PathBuf,
    /// Makes standard input the controlling terminal.
    #[arg(long)]
    terminal: bool,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<std::ffi::OsString>,
}

/// Why the program could not be started.
#[derive(Debug, thiserror::Error)]
enum LaunchError {
    #[error("cannot start a session: {0}")]
    Session(#[source] io::Error),
    #[error("cannot take the terminal: {0}")]
    Terminal(#[source] io::Error),
    #[error("cannot become user {uid}: {source}")]
    User { uid: u32, source: io::Error },
    #[error("cannot enter directory {}: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot execute {program:?}: {source}")]
    Execute { program: std::ffi::OsString, source: io::Error },
}

/// Becomes the program; returns only on failure.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let mut report = match open_report(arguments) {
        Ok(report) => report,
        Err(problem) => {
            eprintln!("agent-runtime launch: cannot open the report: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let problem = become_program(arguments);
    // Nobody is left to tell when the report can't be written.
    let _ = report.write_all(problem.to_string().as_bytes());
    ExitCode::FAILURE
}

fn open_report(arguments: &Arguments) -> io::Result<File> {
    let mut report = OpenOptions::new().write(true).open(&arguments.report)?;
    report.write_all(&[STARTED])?;
    Ok(report)
}

fn become_program(arguments: &Arguments) -> LaunchError {
    if let Err(problem) = prepare(arguments) {
        return problem;
    }
    let mut words = arguments.command.iter();
    let program = words.next().cloned().unwrap_or_default();
    let source = Command::new(&program).args(words).exec();
    LaunchError::Execute { program, source }
}

fn prepare(arguments: &Arguments) -> Result<(), LaunchError> {
    rustix::process::setsid().map_err(|errno| LaunchError::Session(errno.into()))?;
    if arguments.terminal {
        rustix::process::ioctl_tiocsctty(io::stdin()).map_err(|errno| LaunchError::Terminal(errno.into()))?;
    }
    become_user(arguments).map_err(|errno| LaunchError::User { uid: arguments.uid, source: errno.into() })?;
    std::env::set_current_dir(&arguments.directory)
        .map_err(|source| LaunchError::Directory { path: arguments.directory.clone(), source })
}

/// Takes the user's identity. Where that is already the own one, a refusal to set it again is no failure: envd may
/// not be root, or may be root in a user namespace without groups.
fn become_user(arguments: &Arguments) -> nix::Result<()> {
    let wanted = Uid::from_raw(arguments.uid);
    let groups = arguments.groups.iter().copied().map(Gid::from_raw).collect::<Vec<_>>();
    let taken =
        setgroups(&groups).and_then(|()| setgid(Gid::from_raw(arguments.gid))).and_then(|()| setuid(wanted));
    match taken {
        Err(nix::Error::EPERM) if geteuid() == wanted => Ok(()),
        taken => taken,
    }
}
