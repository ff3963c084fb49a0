//! `Start` and `Connect`: streams of what a process does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use journal::secrecy::REDACTED;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::messages::{Event, EventMessage, ProcessConfig, ProcessInfo, SelectRequest, StartRequest};
use super::running::{Outlets, Running};
use super::spawn::{Recipe, spawn};
use crate::envd::accounts::Account;
use crate::envd::connect::{Call, Code, Messages, RpcError};
use crate::envd::paths::resolve;
use crate::envd::rpc_problem::account_of;
use crate::envd::state::{Envd, SharedEnvd};
use crate::storage::helper;

/// Where programs are looked for when envd itself was started without a path.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts a process and tells about it from the first moment on.
pub(crate) async fn start(
    envd: &SharedEnvd,
    call: Call,
    request: StartRequest,
) -> Result<Messages<EventMessage>, RpcError> {
    let account = account_of(envd, &call)?;
    let recipe = recipe(envd, &account, &request)?;
    let spawned =
        spawn(&recipe).await.map_err(|problem| RpcError::new(Code::InvalidArgument, problem.to_string()))?;
    let pid = spawned.pid;
    let info = ProcessInfo { config: shown(request.process), pid, tag: request.tag };
    let (process, outlets) = Running::new(info, spawned).map_err(|problem| {
        RpcError::new(Code::Internal, format!("cannot follow process {pid}: {problem}"))
    })?;
    let process = Arc::new(process);
    let events = process.fanout.listen();
    envd.processes.add(process.clone());
    crate::announcement::announce(
        "started",
        &process.info.config.cmd,
        json!({ "pid": pid, "user": account.name }),
    );
    tokio::spawn(supervise(envd.clone(), process, outlets, call.timeout));
    Ok(messages(pid, events))
}

/// Attaches to a process, or tells how it ended.
pub(crate) fn connect(envd: &Envd, request: &SelectRequest) -> Result<Messages<EventMessage>, RpcError> {
    let process = envd.processes.known(&request.process)?;
    Ok(messages(process.info.pid, process.fanout.listen()))
}

fn messages(pid: u32, events: mpsc::Receiver<Event>) -> Messages<EventMessage> {
    let start = stream::iter([Event::Start { pid }]);
    start.chain(ReceiverStream::new(events)).map(|event| Ok(EventMessage { event })).boxed()
}

/// A process as others may see it: the older way to mount has secrets in the storage helper's arguments.
fn shown(mut config: ProcessConfig) -> ProcessConfig {
    if Path::new(&config.cmd).file_name().is_some_and(|name| name == helper::PROGRAM) {
        let mut value_follows = false;
        for argument in &mut config.args {
            let joined =
                argument.starts_with("--config=") || (argument.starts_with("-c") && argument.len() > 2);
            let alone = argument == "--config" || argument == "-c";
            if value_follows || joined {
                REDACTED.clone_into(argument);
            }
            value_follows = alone;
        }
    }
    config
}

/// Sees the process through to its end, which `limit` may bring about.
async fn supervise(envd: SharedEnvd, process: Arc<Running>, outlets: Outlets, limit: Option<Duration>) {
    let killer = limit.map(|limit| {
        let process = process.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            if let Err(problem) = process.signal(Signal::SIGKILL) {
                tracing::warn!("{problem}");
            }
        })
    });
    let end = process.supervise(outlets).await;
    if let Some(killer) = killer {
        killer.abort();
    }
    let told = json!({ "pid": process.info.pid, "status": end.status });
    crate::announcement::announce("exited", &process.info.config.cmd, told);
    // First forgotten, then told: who knows of the end can rely on it.
    envd.processes.end(&process);
    process.fanout.finish(end).await;
}

fn recipe(envd: &Envd, account: &Account, request: &StartRequest) -> Result<Recipe, RpcError> {
    let process = &request.process;
    let texts = std::iter::once(&process.cmd)
        .chain(&process.args)
        .chain(process.envs.keys())
        .chain(process.envs.values());
    if process.cmd.is_empty() || texts.into_iter().any(|text| text.contains('\0')) {
        return Err(RpcError::new(Code::InvalidArgument, "the command is empty or contains a null byte"));
    }
    Ok(Recipe {
        launcher: envd.options.launcher.clone(),
        account: account.clone(),
        directory: directory(envd, account, process.cwd.as_deref())?,
        program: process.cmd.clone(),
        arguments: process.args.clone(),
        environment: environment(envd, account, &process.envs),
        pty: request.pty,
        stdin: request.stdin.unwrap_or(true),
    })
}

/// The working directory: the one that was asked for must exist; without one it is the default, or else the root.
fn directory(envd: &Envd, account: &Account, asked: Option<&str>) -> Result<PathBuf, RpcError> {
    let asked = asked.filter(|asked| !asked.is_empty());
    let path = resolve(asked.unwrap_or_default(), account, envd.workdir().as_deref())
        .map_err(|problem| RpcError::new(Code::InvalidArgument, problem.to_string()))?;
    if path.is_dir() {
        return Ok(path);
    }
    if asked.is_none() {
        return Ok(Path::new("/").to_owned());
    }
    Err(RpcError::new(Code::InvalidArgument, format!("working directory {} does not exist", path.display())))
}

/// The environment: the account's, the default one, the request's; later wins. Nothing else is inherited.
fn environment(envd: &Envd, account: &Account, asked: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let path = std::env::var("PATH").unwrap_or_else(|_| SEARCH_PATH.to_owned());
    let mut environment = BTreeMap::from([
        ("PATH".to_owned(), path),
        ("HOME".to_owned(), account.home.to_string_lossy().into_owned()),
        ("USER".to_owned(), account.name.clone()),
        ("LOGNAME".to_owned(), account.name.clone()),
    ]);
    environment.extend(envd.default_environment());
    environment.extend(asked.clone());
    environment
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::long(&["mount", "--driver", "d", "--config", "c2VjcmV0"], &["mount", "--driver", "d", "--config", REDACTED])]
    #[case::short(&["mount", "-c", "c2VjcmV0", "-d", "d"], &["mount", "-c", REDACTED, "-d", "d"])]
    #[case::joined(&["mount", "--config=c2VjcmV0", "--debug"], &["mount", REDACTED, "--debug"])]
    #[case::glued(&["mount", "-cc2VjcmV0", "-d", "d"], &["mount", REDACTED, "-d", "d"])]
    fn the_helpers_secrets_are_not_listed(#[case] arguments: &[&str], #[case] expected: &[&str]) {
        let config = |cmd: &str, args: &[&str]| ProcessConfig {
            cmd: cmd.into(),
            args: args.iter().map(|argument| (*argument).to_owned()).collect(),
            ..ProcessConfig::default()
        };
        let path = "/mnt/envd/sandbox-runtime-storage";
        assert_eq!(shown(config(path, arguments)), config(path, expected));
        assert_eq!(shown(config("/bin/other", arguments)), config("/bin/other", arguments));
    }
}
