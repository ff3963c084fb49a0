//! Running a command and keeping everything that it said.

use std::io::{Read, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::within;

/// What became of a command.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// Exit status; absent when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Standard output of a command that succeeded.
    ///
    /// # Panics
    /// When it didn't; the message has everything that it said.
    pub fn expect_success(self) -> String {
        assert_eq!(self.status, Some(0), "{self}");
        self.stdout
    }

    /// The JSON document on the last line of standard output of a command that succeeded.
    ///
    /// # Panics
    /// When it failed or said something else.
    pub fn json(self) -> serde_json::Value {
        let text = self.expect_success();
        let line = text.lines().next_back().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, status, stdout, stderr } = self;
        write!(formatter, "{command}\nexit status {status:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it can't be started, or is not done within `limit`; it is killed then.
pub fn run(command: &mut Command, limit: Duration) -> Outcome {
    run_with_input(command, "", limit)
}

/// Runs a command to its end with a text on its standard input.
///
/// # Panics
/// When it can't be started, or is not done within `limit`; it is killed then.
pub fn run_with_input(command: &mut Command, input: &str, limit: Duration) -> Outcome {
    let name = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start {name}: {error}; `make test` installs what tests need"));
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // a command that doesn't read its input closes it, which is its own business
        stdin.as_mut().map(|stdin| stdin.write_all(input.as_bytes()))
    });
    let stdout = std::thread::spawn(move || text(stdout));
    let stderr = std::thread::spawn(move || text(stderr));
    let ended = within(limit, || match child.try_wait() {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err("it is running".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    if ended.is_err() {
        child.kill().expect("kill a child of this test");
        child.wait().expect("reap a child of this test");
    }
    let _ = writer.join();
    let outcome = Outcome {
        command: name,
        status: ended.as_ref().ok().and_then(std::process::ExitStatus::code),
        stdout: stdout.join().expect("read standard output"),
        stderr: stderr.join().expect("read standard error"),
    };
    assert!(ended.is_ok(), "command deadline of {limit:?} passed: {outcome}");
    outcome
}

fn text(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).expect("read a pipe");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
