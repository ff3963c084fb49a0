//! A served instance and a `kubectl` that knows only it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use kube_sim::KubeSim;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A `kubectl` command ends within this time, on a busy machine too.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Lab {
    pub(crate) server: KubeSim,
    directory: TempDir,
    serving: JoinHandle<()>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let server = super::common::server();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        let directory = tempfile::tempdir().expect("a directory");
        let config = server.kubeconfig(&url).expect("a certificate");
        std::fs::write(directory.path().join("kubeconfig"), config).expect("written");
        let serving = server.clone();
        let serving = tokio::spawn(async move {
            serving.serve_https(listener).await.expect("serves until it is stopped");
        });
        Self { server, directory, serving }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file beside the kubeconfig.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).expect("written");
        path.to_str().expect("a plain path").to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(arguments)
            .env("KUBECONFIG", self.path("kubeconfig"))
            .env("HOME", self.directory.path())
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a command that goes on, such as a watch.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("kubectl is needed on the PATH for these tests")
    }

    pub(crate) async fn run_with(
        &self,
        arguments: &[&str],
        input: &str,
        environment: &[(&str, &str)],
    ) -> Output {
        let mut child = self
            .command(arguments)
            .envs(environment.iter().copied())
            .spawn()
            .expect("kubectl is needed on the PATH for these tests");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).await.expect("kubectl reads its input");
        drop(stdin);
        let output = timeout(COMMAND_LIMIT, child.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("kubectl {arguments:?} still runs after {COMMAND_LIMIT:?}"))
            .expect("kubectl ran");
        Output {
            succeeded: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The output of a command that succeeds.
    #[track_caller]
    pub(crate) fn ok<'a>(&'a self, arguments: &'a [&'a str]) -> impl Future<Output = String> + 'a {
        self.ok_with(arguments, "")
    }

    /// The output of a command that succeeds on some input.
    pub(crate) async fn ok_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run_with(arguments, input, &[]).await;
        assert!(output.succeeded, "kubectl {arguments:?} failed: {}{}", output.stdout, output.stderr);
        output.stdout
    }

    /// What a command that fails says.
    pub(crate) async fn fails_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run_with(arguments, input, &[]).await;
        assert!(!output.succeeded, "kubectl {arguments:?} succeeded: {}", output.stdout);
        output.stderr
    }
}

/// The words of each line.
pub(crate) fn words(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}
