//! A lab brought up with `mountlab up`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Kubectl, fixture, mountlab, within};

/// How long a lab may take to say how it is reached; machines that run tests are busy.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How long a lab may take to be gone after a signal.
const END_LIMIT: Duration = Duration::from_secs(15);

/// The bucket that every lab of these tests has.
const BUCKET: &str = "demo-bucket";

/// A running lab; dropping it interrupts it, as Ctrl-C does, and waits for its end.
#[derive(Debug)]
pub struct Up {
    child: Child,
    variables: BTreeMap<String, String>,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Up {
    /// Brings a lab up that has the bucket `demo-bucket` and the NFS export `/share`.
    ///
    /// # Panics
    /// When it doesn't come up; the message has what it said.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further arguments of `mountlab up`.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut command = mountlab(&["up", "--output", "json", "--bucket", BUCKET, "--export", "/share"]);
        command.args(arguments);
        Self::start_as(command)
    }

    /// The same with a command of the test's own making, which must print what `mountlab up --output json` prints.
    ///
    /// # Panics
    /// When it doesn't come up; the message has what it said.
    pub fn start_as(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let stdout = child.stdout.take().expect("a pipe");
        let mut stderr = child.stderr.take().expect("a pipe");
        let log = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).expect("read a pipe");
            String::from_utf8_lossy(&text).into_owned()
        });
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line).map(|_| line);
            // the test has given up when nobody listens
            let _ = sender.send(read);
        });
        let line = receiver.recv_timeout(START_LIMIT);
        let mut up = Self { child, variables: BTreeMap::new(), log: Some(log) };
        match line {
            Ok(Ok(line)) => match serde_json::from_str(&line) {
                Ok(variables) => up.variables = variables,
                Err(error) => up.give_up(&format!("it said {line:?}: {error}")),
            },
            Ok(Err(error)) => up.give_up(&error.to_string()),
            Err(_) => up.give_up(&format!("lab start deadline of {START_LIMIT:?} passed")),
        }
        up
    }

    fn give_up(&mut self, reason: &str) -> ! {
        let _ = self.child.kill();
        let status = self.child.wait();
        let log = self.log.take().map(std::thread::JoinHandle::join);
        panic!("mountlab up: {reason}; {status:?}\n{}", log.and_then(Result::ok).unwrap_or_default());
    }

    /// The bucket that the lab has.
    pub fn bucket(&self) -> &'static str {
        BUCKET
    }

    /// One of the variables that the lab printed.
    ///
    /// # Panics
    /// When it printed no such variable.
    pub fn variable(&self, name: &str) -> &str {
        self.variables.get(name).unwrap_or_else(|| panic!("mountlab up printed no {name}"))
    }

    /// All variables that the lab printed, for the environment of a program that uses it.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// `kubectl` for this lab.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(self.variable("KUBECONFIG"))
    }

    /// The process id of `mountlab up`.
    pub fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }

    /// The product document's Secret and PV, filled in for this lab.
    pub fn document_storage(&self) -> String {
        let secret = fixture(
            "oss-secret.yaml",
            &[
                ("<YOUR_ACCESS_KEY_ID>", self.variable("OSS_ACCESS_KEY_ID")),
                ("<YOUR_ACCESS_KEY_SECRET>", self.variable("OSS_ACCESS_KEY_SECRET")),
            ],
        );
        let volume = fixture(
            "oss-pv-sandbox-system.yaml",
            &[("<OSS_BUCKET>", BUCKET), ("<OSS_ENDPOINT>", self.variable("OSS_ENDPOINT_INSIDE"))],
        );
        format!("{secret}---\n{volume}")
    }

    /// Creates the objects of the product document's example and waits for the warm pool.
    ///
    /// # Panics
    /// When an object is refused or the pool doesn't fill.
    pub fn set_up_document_example(&self) -> Kubectl {
        let kubectl = self.kubectl();
        kubectl.feed(&["create"], &self.document_storage());
        kubectl.feed(&["create"], &fixture("code-interpreter-inject-test.yaml", &[]));
        kubectl.wait_for_pool();
        kubectl
    }

    /// Creates the product document's NAS PV, filled in for this lab.
    pub fn set_up_nas(&self) {
        let server = self.variable("NAS_SERVER_INSIDE");
        let volume = fixture("nas-pv-sandbox-system.yaml", &[("<NAS_SERVER>", server)]);
        self.kubectl().feed(&["create"], &volume);
    }

    /// Sends a signal to `mountlab up` alone.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn signal(&self, signal: Signal) {
        kill(self.id(), signal).expect("the lab is there to be signalled");
    }

    /// Waits for the end and returns what it said on standard error.
    ///
    /// # Panics
    /// When it doesn't end within the lab end deadline.
    pub fn wait_for_end(&mut self) -> String {
        let ended = within(END_LIMIT, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it is running".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        let Ok(status) = ended else {
            self.give_up(&format!("lab end deadline of {END_LIMIT:?} passed"));
        };
        let log = self.log.take().map(|log| log.join().expect("read standard error")).unwrap_or_default();
        format!("{log}{status}")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.log.is_none() {
            return;
        }
        let _ = kill(self.id(), Signal::SIGINT);
        let ended = within(END_LIMIT, || match self.child.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            assert!(std::thread::panicking(), "lab end deadline of {END_LIMIT:?} passed after SIGINT");
        }
    }
}
