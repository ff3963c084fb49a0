//! Programs outside the lab, run with a clean environment and a limit.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use lab::Access;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// Variables of our own environment that programs get to see.
const PASSED_ON: &[&str] = &["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE"];

/// What to run.
pub(crate) struct Program {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) stdin: Option<String>,
    pub(crate) limit: Duration,
}

/// What it did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finished {
    /// -1 when a signal ended it.
    pub(crate) exit_code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A program that could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It can't be started.
    #[error("{program} can't be started")]
    Start {
        program: String,
        #[source]
        source: std::io::Error,
    },
    /// It took too long and was killed.
    #[error("{program} was killed at its limit of {limit:?}; its last words: {last}")]
    Deadline { program: String, limit: Duration, last: String },
    /// Its output can't be read.
    #[error("the output of {program} can't be read")]
    Output {
        program: String,
        #[source]
        source: std::io::Error,
    },
}

/// Where a program is on the PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// How the SDKs, S3 clients and kubectl find a lab.
pub(crate) fn addresses(access: &Access) -> Vec<(String, String)> {
    let mut addresses = vec![
        ("E2B_API_URL".to_owned(), access.e2b_url.clone()),
        ("E2B_SANDBOX_URL".to_owned(), access.e2b_url.clone()),
        ("E2B_DOMAIN".to_owned(), access.e2b_domain.clone()),
        ("E2B_API_KEY".to_owned(), access.e2b_key.clone()),
        ("KUBECONFIG".to_owned(), access.kubeconfig.display().to_string()),
        // A proxy must not come between a lab on this machine and its client.
        ("NO_PROXY".to_owned(), "*".to_owned()),
    ];
    if let Some(store) = &access.object_store {
        addresses.extend([
            ("OSS_ENDPOINT".to_owned(), store.outside_endpoint.clone()),
            ("OSS_REGION".to_owned(), store.region.clone()),
            ("OSS_ACCESS_KEY_ID".to_owned(), store.access_key_id.clone()),
            ("OSS_ACCESS_KEY_SECRET".to_owned(), store.access_key_secret.clone()),
        ]);
    }
    if let Some(server) = &access.network_file_system {
        addresses.extend([
            ("NAS_SERVER".to_owned(), server.outside_address.ip().to_string()),
            ("NAS_PORT".to_owned(), server.outside_address.port().to_string()),
            ("NAS_MOUNT_PORT".to_owned(), server.outside_mount_port.to_string()),
            ("NAS_PATH_PREFIX".to_owned(), server.path_prefix.clone()),
        ]);
    }
    addresses
}

/// Kills a process group when it goes, so that no grandchild outlives a step that was cut short.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // No such group any more is what is wanted.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Runs a program to its end.
pub(crate) async fn run(program: &Program) -> Result<Finished, ProgramError> {
    let name = program.arguments.first().cloned().unwrap_or_default();
    let mut child =
        start(program, &name).map_err(|source| ProgramError::Start { program: name.clone(), source })?;
    let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let _group = Group(leader);
    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    let finished = tokio::time::timeout(
        program.limit,
        converse(&mut child, program.stdin.as_deref(), &mut stdout, &mut stderr),
    )
    .await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match finished {
        Ok(Ok(exit_code)) => Ok(Finished { exit_code, stdout: text(&stdout), stderr: text(&stderr) }),
        Ok(Err(source)) => Err(ProgramError::Output { program: name, source }),
        Err(_) => {
            let said = if stderr.is_empty() { text(&stdout) } else { text(&stderr) };
            let last = said.lines().last().unwrap_or("none").to_owned();
            Err(ProgramError::Deadline { program: name, limit: program.limit, last })
        }
    }
}

fn start(program: &Program, name: &str) -> std::io::Result<Child> {
    let mut command = Command::new(name);
    command.args(program.arguments.iter().skip(1)).env_clear();
    for variable in PASSED_ON {
        if let Some(value) = std::env::var_os(variable) {
            command.env(variable, value);
        }
    }
    command.env("PYTHONUNBUFFERED", "1").envs(program.environment.iter().cloned());
    let stdin = if program.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true).spawn()
}

async fn converse(
    child: &mut Child,
    stdin: Option<&str>,
    stdout: &mut Vec<u8>,
    stderr: &mut Vec<u8>,
) -> std::io::Result<i32> {
    let input = child.stdin.take();
    let output = child.stdout.take();
    let errors = child.stderr.take();
    let feed = async {
        if let (Some(mut input), Some(text)) = (input, stdin) {
            match input.write_all(text.as_bytes()).await {
                // A program may end without reading all it is given.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
                other => other?,
            }
        }
        Ok::<(), std::io::Error>(())
    };
    let listen = async {
        if let Some(mut output) = output {
            output.read_to_end(stdout).await?;
        }
        Ok(())
    };
    let listen_to_errors = async {
        if let Some(mut errors) = errors {
            errors.read_to_end(stderr).await?;
        }
        Ok(())
    };
    tokio::try_join!(feed, listen, listen_to_errors)?;
    Ok(child.wait().await?.code().unwrap_or(-1))
}
