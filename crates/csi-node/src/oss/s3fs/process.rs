//! `s3fs` as a child: what it says, that it ends, and how it is ended.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::PROGRAM;
use super::folder::Folder;
use crate::driver::Refusal;
use crate::s3::Credentials;

/// Lines that are remembered, for the text of an error.
const REMEMBERED: usize = 5;
/// A longer line is cut, in characters.
const LONGEST_LINE: usize = 500;
/// How long it may take to end after SIGTERM (`storage.md` §6.2).
const GRACE: Duration = Duration::from_secs(2);
/// How long the kernel may take after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(3);
/// How long its last output is waited for: a child of its own may hold it open.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);

/// A running or ended `s3fs`. One that is dropped is killed.
#[derive(Debug)]
pub(super) struct Process {
    /// How it ended, once it has.
    ended: watch::Receiver<Option<String>>,
    signals: mpsc::Sender<Signal>,
    said: LastWords,
}

impl Process {
    /// Starts it with `arguments`, for a mount at `target`; `folder` goes when it ends. It gets nothing of the agent's
    /// environment but the search path, and is in a process group of its own: a Ctrl-C is the agent's to act upon.
    ///
    /// # Errors
    /// When it can't be started.
    pub(super) fn start(
        arguments: Vec<OsString>,
        target: &Path,
        credentials: &Credentials,
        folder: Folder,
    ) -> io::Result<Self> {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = LastWords::default();
        let output = [
            child.stdout.take().map(|stream| listen(stream, credentials.clone(), said.clone())),
            child.stderr.take().map(|stream| listen(stream, credentials.clone(), said.clone())),
        ];
        let (signals, orders) = mpsc::channel(4);
        let (tell, ended) = watch::channel(None);
        let supervisor =
            Supervisor { child, orders, said: said.clone(), target: target.display().to_string() };
        tokio::spawn(async move {
            let how = supervisor.until_end(output.into_iter().flatten()).await;
            drop(folder);
            tell.send_replace(Some(how));
        });
        Ok(Self { ended, signals, said })
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits for its end, and answers how it came.
    pub(super) async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        let how = ended.wait_for(Option::is_some).await.map(|how| how.clone().unwrap_or_default());
        // The supervisor tells before it goes, unless the agent's runtime ends.
        how.unwrap_or_else(|_| "the agent ends".to_owned())
    }

    /// Ends it: asks, then kills.
    ///
    /// # Errors
    /// When it is still there after that.
    pub(super) async fn end(&self) -> Result<(), Refusal> {
        for (signal, limit) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, KILL_LIMIT)] {
            // Nobody takes the order if it has just ended.
            let _ = self.signals.send(signal).await;
            if timeout(limit, self.ended()).await.is_ok() {
                return Ok(());
            }
        }
        Err(Refusal::internal(format!("s3fs did not end within {KILL_LIMIT:?} after SIGKILL")))
    }

    /// The last lines that it said, without secrets, in one line.
    pub(super) fn last_words(&self) -> String {
        self.said.text()
    }
}

/// The last lines of a process.
#[derive(Clone, Debug, Default)]
struct LastWords {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl LastWords {
    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, line: String) {
        let mut lines = self.lines();
        if lines.len() == REMEMBERED {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn text(&self) -> String {
        let lines = self.lines();
        if lines.is_empty() {
            return "it said nothing".to_owned();
        }
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

/// Passes on to the log what comes over `stream`, and remembers what isn't mere information.
fn listen(
    stream: impl AsyncRead + Send + Unpin + 'static,
    credentials: Credentials,
    said: LastWords,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line).await, Ok(length) if length > 0) {
            let text = credentials.conceal(String::from_utf8_lossy(&line).trim_end());
            line.clear();
            let text: String = text.chars().take(LONGEST_LINE).collect();
            if is_information(&text) {
                tracing::debug!("s3fs: {text}");
            } else if !text.is_empty() {
                tracing::warn!("s3fs: {text}");
                said.add(text);
            }
        }
    })
}

/// Whether `line` says only what it does: it marks such lines, and tells of its own level of logging as if that were grave.
fn is_information(line: &str) -> bool {
    line.contains("[INF]") || line.contains("LowSetLogLevel")
}

/// What watches one process.
struct Supervisor {
    child: Child,
    orders: mpsc::Receiver<Signal>,
    said: LastWords,
    target: String,
}

impl Supervisor {
    /// Waits for the end of the process and of its `output`; passes signals on meanwhile.
    async fn until_end(mut self, output: impl Iterator<Item = JoinHandle<()>>) -> String {
        let mut asked = false;
        let ended = loop {
            tokio::select! {
                ended = self.child.wait() => break ended,
                order = self.orders.recv() => {
                    asked = true;
                    match order {
                        Some(signal) => self.pass_on(signal),
                        // Dropped: nobody wants it any more.
                        None => break self.child.kill().await.and(self.child.wait().await),
                    }
                }
            }
        };
        for stream in output {
            // What isn't read by then is in the log later, or never.
            let _ = timeout(OUTPUT_LIMIT, stream).await;
        }
        let how = match &ended {
            Ok(status) => status.to_string(),
            Err(error) => format!("it can't be waited for: {error}"),
        };
        if !asked && !ended.as_ref().is_ok_and(ExitStatus::success) {
            self.tell(&how);
        }
        how
    }

    fn pass_on(&self, signal: Signal) {
        // Until it is waited for, above, the number is nobody else's.
        let Some(process) = self.child.id().and_then(|id| i32::try_from(id).ok()) else { return };
        if let Err(error) = kill(Pid::from_raw(process), signal) {
            tracing::debug!(%error, %signal, "s3fs does not take a signal");
        }
    }

    /// Its users get ENOTCONN from now on, until somebody publishes the volume again (`storage.md` §5.4).
    fn tell(&self, how: &str) {
        let said = self.said.text();
        tracing::error!(target = %self.target, %how, %said, "s3fs ended by itself");
        let body = json!({ "mounter": PROGRAM, "how": how, "said": said });
        journal::announce(journal::source::CSI, "OssMounterEnded", &self.target, body);
    }
}
