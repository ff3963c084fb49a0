//! The real `kubectl`, pointed at a lab.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::{Outcome, run, run_with_input};

/// The SandboxSet of the product document's example.
pub const DOCUMENT_SET: &str = "code-interpreter-inject-test";

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(90);

/// `kubectl` with a kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// Uses the cluster that `kubeconfig` names.
    pub fn new(kubeconfig: impl Into<PathBuf>) -> Self {
        Self { kubeconfig: kubeconfig.into() }
    }

    /// Runs `kubectl ARGUMENTS`, whatever comes of it.
    pub fn try_call(&self, arguments: &[&str]) -> Outcome {
        run(self.command().args(arguments), LIMIT)
    }

    /// Standard output of `kubectl ARGUMENTS`.
    ///
    /// # Panics
    /// When it fails.
    pub fn call(&self, arguments: &[&str]) -> String {
        self.try_call(arguments).expect_success()
    }

    /// Runs `kubectl ARGUMENTS -f -` with `manifest` on its standard input.
    ///
    /// # Panics
    /// When it fails.
    pub fn feed(&self, arguments: &[&str], manifest: &str) -> String {
        run_with_input(self.command().args(arguments).args(["-f", "-"]), manifest, LIMIT).expect_success()
    }

    /// What `kubectl get ARGUMENTS -o json` says.
    ///
    /// # Panics
    /// When it fails or says something else.
    pub fn get(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.call(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Waits until the document's SandboxSet has all its four sandboxes ready to be taken.
    ///
    /// # Panics
    /// When the warm pool deadline passes.
    pub fn wait_for_pool(&self) {
        let set = format!("sandboxset/{DOCUMENT_SET}");
        let condition = "--for=jsonpath={.status.availableReplicas}=4";
        let waited = self.try_call(&["wait", &set, condition, "--timeout=60s"]);
        if waited.status != Some(0) {
            let state = self.try_call(&["get", "sandboxsets,sandboxes,pods,events", "-A", "-o", "wide"]);
            panic!("warm pool deadline of 60 s passed: {waited}\n{state}");
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &self.kubeconfig).env_remove("HTTP_PROXY").env_remove("HTTPS_PROXY");
        command
    }
}
