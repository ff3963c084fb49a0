//! What containers print: kept per container, bounded, for reading and following; lines that carry journal entries
//! go to the journal as well.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clock::SharedClock;
use jiff::Timestamp;
use journal::{Draft, Journal};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::runtime::Output;

/// How many bytes of output are kept per attempt of a container; older lines are dropped.
const KEPT_BYTES: usize = 1 << 20;
/// Longer lines are cut into pieces of this many bytes.
const LONGEST_LINE: usize = 16 * 1024;

/// One line of output.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    /// When it was read.
    pub time: Timestamp,
    /// The text without its line break.
    pub text: String,
}

/// The output of one attempt of a container.
#[derive(Debug)]
pub(crate) struct Log {
    lines: Mutex<Kept>,
    /// How many lines were ever written, and whether more can come.
    state: watch::Sender<(u64, bool)>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
    dropped: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { lines: Mutex::default(), state: watch::Sender::new((0, false)) }
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, line: LogLine) {
        {
            let mut kept = self.lock();
            kept.bytes += line.text.len() + 1;
            kept.lines.push_back(line);
            while kept.bytes > KEPT_BYTES
                && let Some(oldest) = kept.lines.pop_front()
            {
                kept.bytes -= oldest.text.len() + 1;
                kept.dropped += 1;
            }
        }
        self.state.send_modify(|(written, _)| *written += 1);
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.state.send_modify(|(_, closed)| *closed = true);
    }

    /// The kept lines from number `from` on, and the number after the last.
    fn since(&self, from: u64) -> (Vec<LogLine>, u64) {
        let kept = self.lock();
        let skip = usize::try_from(from.saturating_sub(kept.dropped)).unwrap_or(usize::MAX);
        let end = kept.dropped + kept.lines.len() as u64;
        (kept.lines.iter().skip(skip).cloned().collect(), end)
    }
}

/// Reads a log from its kept beginning.
#[derive(Debug)]
pub struct LogReader {
    log: Arc<Log>,
    position: u64,
    state: watch::Receiver<(u64, bool)>,
}

impl LogReader {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        let state = log.state.subscribe();
        Self { log, position: 0, state }
    }

    /// Every line that is there and was not read yet.
    pub fn read(&mut self) -> Vec<LogLine> {
        let (lines, end) = self.log.since(self.position);
        self.position = end;
        lines
    }

    /// The next lines, waiting for them; `None` once the container has ended and everything was read.
    pub async fn next(&mut self) -> Option<Vec<LogLine>> {
        loop {
            let (_, closed) = *self.state.borrow_and_update();
            let lines = self.read();
            if !lines.is_empty() {
                return Some(lines);
            }
            if closed || self.state.changed().await.is_err() {
                return None;
            }
        }
    }
}

/// The attempts of one container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs {
    attempts: Arc<Mutex<Attempts>>,
}

#[derive(Debug, Default)]
struct Attempts {
    current: Option<Arc<Log>>,
    previous: Option<Arc<Log>>,
}

impl Logs {
    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A log for a new attempt; the one before becomes the previous.
    pub(crate) fn begin(&self) -> Arc<Log> {
        let log = Arc::<Log>::default();
        let mut attempts = self.lock();
        attempts.previous = attempts.current.replace(log.clone());
        log
    }

    /// The current attempt's log, or the one before it.
    pub(crate) fn get(&self, previous: bool) -> Option<Arc<Log>> {
        let attempts = self.lock();
        if previous { attempts.previous.clone() } else { attempts.current.clone() }
    }
}

/// The first bytes of an output.
#[derive(Debug)]
pub(crate) struct Capture {
    text: Mutex<String>,
    most: usize,
}

impl Capture {
    pub(crate) fn new(most: usize) -> Self {
        Self { text: Mutex::default(), most }
    }

    fn add(&self, line: &str) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if text.len() + line.len() < self.most {
            text.push_str(line);
            text.push('\n');
        }
    }

    /// What was captured, without the last line break.
    pub(crate) fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).trim_end().to_owned()
    }
}

/// Where lines go.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    pub(crate) clock: SharedClock,
    pub(crate) journal: Journal,
    /// `namespace/name` of the pod, put into journal entries.
    pub(crate) pod: String,
    /// Name of the container, put into journal entries.
    pub(crate) container: String,
    /// Absent for commands in a container, whose output is no log.
    pub(crate) log: Option<Arc<Log>>,
    capture: Option<Arc<Capture>>,
}

impl Sink {
    pub(crate) fn new(
        clock: SharedClock,
        journal: Journal,
        pod: String,
        container: String,
        log: Option<Arc<Log>>,
    ) -> Self {
        Self { clock, journal, pod, container, log, capture: None }
    }

    pub(crate) fn capturing(self, capture: Arc<Capture>) -> Self {
        Self { capture: Some(capture), ..self }
    }

    fn take(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        if let Some(mut draft) = Draft::from_log_line(&text) {
            self.sign(&mut draft.body);
            self.journal.add(draft);
        } else {
            self.journal.inspect(&format!("log of {}, container {}", self.pod, self.container), &text);
            if let Some(capture) = &self.capture {
                capture.add(&text);
            }
        }
        if let Some(log) = &self.log {
            log.add(LogLine { time: self.clock.now(), text: text.into_owned() });
        }
    }

    /// Says in an entry from which pod it came.
    fn sign(&self, body: &mut Value) {
        if body.is_null() {
            *body = json!({});
        }
        if let Value::Object(members) = body {
            members.insert("pod".to_owned(), json!(self.pod));
            members.insert("container".to_owned(), json!(self.container));
        }
    }
}

/// The reading ends of a process's output.
#[derive(Debug)]
pub(crate) struct Pipes {
    standard: pipe::Receiver,
    error: pipe::Receiver,
}

impl Pipes {
    /// New pipes and their writing ends.
    pub(crate) fn new() -> io::Result<(Self, Output)> {
        let (standard, standard_end) = io::pipe()?;
        let (error, error_end) = io::pipe()?;
        let pipes = Self {
            standard: pipe::Receiver::from_owned_fd(standard.into())?,
            error: pipe::Receiver::from_owned_fd(error.into())?,
        };
        Ok((pipes, Output { standard: standard_end.into(), error: error_end.into() }))
    }

    /// Everything that is written to standard output and to standard error, at most `most` bytes of each, until the
    /// last writer has closed its end.
    pub(crate) async fn collect(self, most: u64) -> (Vec<u8>, Vec<u8>) {
        async fn read(input: pipe::Receiver, most: u64) -> Vec<u8> {
            let mut bytes = Vec::new();
            let mut input = input.take(most);
            // What was read before an error counts.
            let _ = input.read_to_end(&mut bytes).await;
            // More is read and forgotten, so that who writes isn't held up.
            let _ = tokio::io::copy(&mut input.into_inner(), &mut tokio::io::sink()).await;
            bytes
        }
        tokio::join!(read(self.standard, most), read(self.error, most))
    }

    /// Passes lines on until the last writer has closed its end.
    pub(crate) async fn drain(self, sink: Sink) {
        tokio::join!(pass_on(self.standard, &sink), pass_on(self.error, &sink));
        if let Some(log) = &sink.log {
            log.close();
        }
    }
}

async fn pass_on(input: impl AsyncRead + Unpin, sink: &Sink) {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    loop {
        let available = match input.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(available) => available,
        };
        let (taken, complete) = match available.iter().position(|byte| *byte == b'\n') {
            Some(position) => (position + 1, true),
            None => (available.len(), false),
        };
        line.extend_from_slice(&available[..taken]);
        input.consume(taken);
        // A journal entry may be longer than a line of a log is allowed to be.
        let too_long = line.len() > LONGEST_LINE && !line.starts_with(b"{\"mountlab.journal\":");
        if complete || too_long || line.len() > KEPT_BYTES {
            sink.take(line.strip_suffix(b"\n").unwrap_or(&line));
            line.clear();
        }
    }
    if !line.is_empty() {
        sink.take(&line);
    }
}

#[cfg(test)]
mod tests {
    use clock::SystemClock;

    use super::*;

    fn sink(journal: &Journal, log: &Arc<Log>) -> Sink {
        Sink::new(SystemClock::shared(), journal.clone(), "ns/pod".into(), "main".into(), Some(log.clone()))
    }

    #[tokio::test]
    async fn journal_lines_are_lifted_and_kept_like_the_rest() {
        let journal = Journal::new(SystemClock::shared());
        let log = Arc::<Log>::default();
        let draft = Draft {
            source: "csi".into(),
            kind: "NodePublishVolume".into(),
            subject: "/data".into(),
            body: Value::Null,
        };
        let text = format!("one\n{}\ntwo", draft.to_log_line());
        pass_on(text.as_bytes(), &sink(&journal, &log)).await;
        let lines: Vec<_> = LogReader::new(log).read().into_iter().map(|line| line.text).collect();
        assert_eq!(lines, ["one", &draft.to_log_line(), "two"]);
        let entry = &journal.entries()[0];
        assert_eq!(entry.subject, "/data");
        assert_eq!(entry.body, json!({"pod": "ns/pod", "container": "main"}));
    }

    #[tokio::test]
    async fn a_log_is_bounded_and_a_follower_reads_to_the_end() {
        let journal = Journal::new(SystemClock::shared());
        let log = Arc::<Log>::default();
        let mut reader = LogReader::new(log.clone());
        let sink = sink(&journal, &log);
        let line = "x".repeat(1000);
        for _ in 0..2 * KEPT_BYTES / 1000 {
            sink.take(line.as_bytes());
        }
        log.close();
        let kept = reader.next().await.expect("lines").len();
        assert!(kept * 1001 <= KEPT_BYTES && kept * 1001 > KEPT_BYTES - 2002, "{kept} lines are kept");
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut() {
        let journal = Journal::new(SystemClock::shared());
        let log = Arc::<Log>::default();
        let text = "y".repeat(3 * LONGEST_LINE);
        pass_on(text.as_bytes(), &sink(&journal, &log)).await;
        let lines = LogReader::new(log).read();
        assert!(lines.len() > 1 && lines.iter().map(|line| line.text.len()).sum::<usize>() == text.len());
    }
}
