//! Running programs: with a deadline, killed when nobody waits any more, their words kept.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::KindError;
use crate::observer::Step;

/// How many of a program's last lines an error repeats.
const LAST_LINES: usize = 12;

/// A program as it is to be run.
pub(crate) struct Run {
    action: String,
    command: Command,
    input: Vec<u8>,
    deadline: (&'static str, Duration),
}

/// What a program said.
#[derive(Debug)]
pub(crate) struct Output {
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) error: String,
    /// Whether it succeeded.
    pub(crate) success: bool,
}

impl Run {
    /// `program`, run in order to do `action` (as in "`action` failed"), within a minute.
    pub(crate) fn new(action: impl Into<String>, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let deadline = ("deadline of a short command", Duration::from_secs(60));
        Self { action: action.into(), command, input: Vec::new(), deadline }
    }

    /// Like [`Run::new`], for a program that starts others and mounts things: whatever ends it, all of that ends with it. That
    /// takes root; anybody else's program can't mount and is run as it is.
    pub(crate) fn enclosed(action: impl Into<String>, program: impl AsRef<OsStr>) -> Self {
        if !nix::unistd::geteuid().is_root() {
            return Self::new(action, program);
        }
        Self::new(action, "unshare")
            .args(["--mount", "--mount-proc", "--pid", "--fork", "--kill-child=SIGKILL", "--"])
            .args([program])
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in this folder.
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// What it reads on standard input.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self.command.stdin(Stdio::piped());
        self
    }

    /// Another deadline, with its name.
    pub(crate) fn within(mut self, name: &'static str, limit: Duration) -> Self {
        self.deadline = (name, limit);
        self
    }

    /// Runs it to its end, whatever that is.
    ///
    /// # Errors
    /// When it can't be started, or doesn't end in time.
    pub(crate) async fn finish(mut self) -> Result<Output, KindError> {
        let failed = |source| KindError::Io { action: self.action.clone(), source };
        let mut child = self.command.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        let input = std::mem::take(&mut self.input);
        let work = async move {
            let write = async move {
                if let Some(mut stdin) = stdin {
                    // A program that doesn't read to the end has its reasons, and says them.
                    let _unread = stdin.write_all(&input).await;
                }
            };
            let ((), output) = tokio::join!(write, child.wait_with_output());
            output
        };
        let (name, limit) = self.deadline;
        let output = timeout(limit, work)
            .await
            .map_err(|_| KindError::Deadline {
                deadline: name,
                limit,
                last: format!("{} goes on", self.action),
            })?
            .map_err(failed)?;
        Ok(Output {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
            success: output.status.success(),
        })
    }

    /// Runs it and returns its standard output.
    ///
    /// # Errors
    /// Also when it fails, with its last words.
    pub(crate) async fn output(self) -> Result<String, KindError> {
        let action = self.action.clone();
        let output = self.finish().await?;
        if output.success {
            return Ok(output.out);
        }
        let words = if output.error.trim().is_empty() { output.out } else { output.error };
        Err(KindError::program(action, last_lines(&words)))
    }

    /// Runs it, shows each line that it says as progress of `step`, and keeps them in the file `log`.
    ///
    /// # Errors
    /// As [`Self::output`]; the error names the log.
    pub(crate) async fn follow(mut self, step: &Step<'_>, log: &Path) -> Result<(), KindError> {
        let failed = |source| KindError::Io { action: self.action.clone(), source };
        let mut file = tokio::fs::File::create(log).await.map_err(KindError::io("making", log))?;
        let mut child = self.command.spawn().map_err(failed)?;
        let (lines, mut said) = mpsc::channel(64);
        if let Some(stream) = child.stdout.take() {
            tokio::spawn(forward(stream, lines.clone()));
        }
        if let Some(stream) = child.stderr.take() {
            tokio::spawn(forward(stream, lines.clone()));
        }
        drop(lines);
        let mut last: Vec<String> = Vec::new();
        let work = async {
            while let Some(line) = said.recv().await {
                file.write_all(format!("{line}\n").as_bytes()).await?;
                if line.trim().is_empty() {
                    continue;
                }
                step.progress(&line);
                last.push(line);
                if last.len() > LAST_LINES {
                    last.remove(0);
                }
            }
            file.flush().await?;
            child.wait().await
        };
        let (name, limit) = self.deadline;
        let outcome = timeout(limit, work).await;
        let log = log.display();
        match outcome {
            Err(_) => Err(KindError::Deadline {
                deadline: name,
                limit,
                last: format!(
                    "{} said {:?}; all of it is in {log}",
                    step.name(),
                    last.last().map_or("nothing", String::as_str)
                ),
            }),
            Ok(Err(source)) => Err(failed(source)),
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(KindError::program(
                self.action,
                format!("{status}\n{}\n(all of it is in {log})", last.join("\n")),
            )),
        }
    }
}

async fn forward(stream: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        // Read as bytes: what a compiler or an archive says need not be UTF-8.
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if lines.send(text).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The last lines of a text.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// Where a program is, on the path or in one of the folders that hold administrators' programs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|place| is_executable(place))
}

fn is_executable(place: &Path) -> bool {
    nix::unistd::access(place, nix::unistd::AccessFlags::X_OK).is_ok() && place.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Silent;

    #[tokio::test]
    async fn a_failed_program_is_quoted() {
        let run = Run::new("trying", "sh").args(["-c", "echo out; echo why >&2; exit 4"]);
        let error = run.output().await.unwrap_err();
        assert_eq!(error.to_string(), "trying failed: why");
    }

    #[tokio::test]
    async fn a_program_reads_its_input() {
        let out = Run::new("counting", "wc").args(["-c"]).input("12345").output().await.unwrap();
        assert_eq!(out.trim(), "5");
    }

    #[tokio::test]
    async fn a_deadline_is_named_and_the_program_killed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let step = Step::begin(&Silent, "waiting");
        let run = Run::new("waiting", "sh").args(["-c", "echo begun; exec sleep 600"]);
        let error = run.within("patience", Duration::from_secs(2)).follow(&step, &log).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("patience of 2s passed; last state: waiting said \"begun\""), "{text}");
    }

    #[tokio::test]
    async fn what_an_enclosed_program_started_and_mounted_ends_with_it() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let step = Step::begin(&Silent, "mounting");
        let patience = format!("600.{}", std::process::id());
        let script =
            format!("mount -t tmpfs none '{}'; sleep {patience} & echo begun; wait", folder.path().display());
        let log = folder.path().with_extension("log");
        let run = Run::enclosed("mounting", "sh").args(["-c", &script]);
        let error = run.within("patience", Duration::from_secs(2)).follow(&step, &log).await.unwrap_err();
        std::fs::remove_file(log).unwrap();
        assert!(error.to_string().contains("said \"begun\""), "{error}");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(folder.path().to_str().unwrap()), "{mounts}");
        let sleeps = || {
            let processes = std::fs::read_dir("/proc").unwrap().flatten();
            let mut lines =
                processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
            lines.any(|line| line == format!("sleep\0{patience}\0").as_bytes())
        };
        timeout(Duration::from_secs(20), async {
            while sleeps() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("its child is gone");
    }

    #[tokio::test]
    async fn what_a_followed_program_says_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let step = Step::begin(&Silent, "talking");
        let run = Run::new("talking", "sh").args(["-c", "for i in $(seq 20); do echo line $i; done; exit 1"]);
        let text = run.follow(&step, &log).await.unwrap_err().to_string();
        assert!(text.contains("line 20") && !text.contains("line 3\n"), "{text}");
        assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 20);
    }

    #[test]
    fn programs_of_administrators_are_found() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }
}
