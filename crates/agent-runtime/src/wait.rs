//! Blocking waits for scripts and probes.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};

use crate::install;

/// How long to pause between two looks.
const INTERVAL: Duration = Duration::from_millis(5);
/// How long one look at envd may take.
const LOOK: Duration = Duration::from_secs(1);

/// What to wait for, and how long.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Waits until the program is installed in this directory.
    #[arg(long, required_unless_present = "envd", conflicts_with = "envd")]
    dir: Option<PathBuf>,
    /// Waits until envd answers on this machine.
    #[arg(long)]
    envd: bool,
    /// envd's port.
    #[arg(long, default_value_t = crate::envd::PORT)]
    port: u16,
    /// The longest wait in seconds; 0 looks once.
    #[arg(long, default_value_t = 10.0)]
    timeout: f64,
}

/// Why a wait ended without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WaitError {
    #[error("invalid timeout {0}: want a number of seconds that is not negative")]
    Timeout(f64),
    #[error("waited {limit:?} for {what}: {last}")]
    Deadline { what: String, limit: Duration, last: String },
}

/// Waits as the command line says.
pub(crate) fn run(arguments: &Arguments) -> Result<(), WaitError> {
    let limit =
        Duration::try_from_secs_f64(arguments.timeout).map_err(|_| WaitError::Timeout(arguments.timeout))?;
    if let Some(directory) = &arguments.dir {
        return until(|| installed(directory), limit, &format!("an installation in {}", directory.display()));
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    until(|| healthy(address), limit, &format!("envd on {address}"))
}

/// Looks until it succeeds or `limit` has passed; the last failure is part of the error.
fn until(look: impl Fn() -> Result<(), String>, limit: Duration, what: &str) -> Result<(), WaitError> {
    let start = Instant::now();
    loop {
        match look() {
            Ok(()) => return Ok(()),
            Err(last) if start.elapsed() >= limit => {
                return Err(WaitError::Deadline { what: what.into(), limit, last });
            }
            Err(_) => pause(),
        }
    }
}

fn pause() {
    let timeout = PollTimeout::try_from(INTERVAL).unwrap_or(PollTimeout::ZERO);
    // An early return, by a signal, only makes the next look come sooner.
    let _ = poll(&mut [], timeout);
}

fn installed(directory: &Path) -> Result<(), String> {
    let script = directory.join(install::SCRIPT);
    if script.is_file() { Ok(()) } else { Err(format!("{} is not there", script.display())) }
}

fn healthy(address: SocketAddr) -> Result<(), String> {
    let status = status_line(address).map_err(|problem| problem.to_string())?;
    if status.starts_with("HTTP/1.1 2") { Ok(()) } else { Err(format!("it answered {status}")) }
}

fn status_line(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LOOK)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_is_complete_when_the_script_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let problem = until(|| installed(directory.path()), Duration::ZERO, "it").unwrap_err();
        assert!(problem.to_string().contains("envd-run.sh is not there"), "{problem}");
        std::fs::write(directory.path().join(install::SCRIPT), "").expect("written");
        until(|| installed(directory.path()), Duration::ZERO, "it").expect("there");
    }

    #[test]
    fn nobody_listening_is_named_in_the_error() {
        let problem =
            until(|| healthy(([127, 0, 0, 1], 1).into()), Duration::from_millis(20), "envd").unwrap_err();
        assert!(problem.to_string().contains("refused"), "{problem}");
    }
}
