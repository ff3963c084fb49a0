//! Commands in a sandbox: `process.Process/Start` (`e2b-api.md` §11), read to its end.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt as _;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{ClientError, Code, Refusal};
use crate::frames::{Frame, FrameDecoder};
use crate::request::{refusal, transport, within};
use crate::sandbox::Sandbox;

/// What to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// A line for `bash -l -c`.
    pub line: String,
    /// The operating-system user; absent means the sandbox's default one.
    pub user: Option<String>,
    /// Working directory; absent means the user's home.
    pub working_directory: Option<String>,
    /// Environment on top of the sandbox's.
    pub environment: BTreeMap<String, String>,
    /// The process is killed after this time; absent means no limit. The SDKs' default is 60 s.
    pub limit: Option<Duration>,
}

impl Command {
    /// The line, run by the default user with the SDKs' limit of 60 s.
    pub fn new(line: impl Into<String>) -> Self {
        Self {
            line: line.into(),
            user: None,
            working_directory: None,
            environment: BTreeMap::new(),
            limit: Some(Duration::from_secs(60)),
        }
    }
}

/// What a command did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CommandOutput {
    /// Its process id in the sandbox.
    pub process_id: u32,
    /// Its exit code; -1 when a signal ended it.
    pub exit_code: i32,
    /// `exit status 1`, `signal: killed`, …
    pub status: String,
    /// envd's account of a failure.
    pub error: Option<String>,
    /// Standard output; bytes that aren't UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

/// How much longer than the process the stream may take before the client gives up by itself.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct StreamMessage {
    event: Option<Event>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Event {
    Start {
        pid: u32,
    },
    Data {
        stdout: Option<String>,
        stderr: Option<String>,
    },
    #[serde(rename_all = "camelCase")]
    End {
        #[serde(default)]
        exit_code: i32,
        #[serde(default)]
        status: String,
        error: Option<String>,
    },
    Keepalive {},
}

#[derive(Deserialize)]
struct EndFrame {
    error: Option<EndError>,
}

#[derive(Deserialize)]
struct EndError {
    code: String,
    #[serde(default)]
    message: String,
}

/// What has been read of a command's stream.
#[derive(Default)]
struct Progress {
    process_id: Option<u32>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    end: Option<(i32, String, Option<String>)>,
}

impl Progress {
    fn describe(&self) -> String {
        match self.process_id {
            None => "the process was not started".into(),
            Some(pid) => format!(
                "process {pid} runs, {} bytes of standard output and {} of standard error came",
                self.stdout.len(),
                self.stderr.len()
            ),
        }
    }
}

impl Sandbox {
    /// Runs a command to its end. A non-zero exit code is an outcome, not an error.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with a Connect code when envd can't start it or the deadline killed it;
    /// [`ClientError::Malformed`] when the stream breaks the rules of `e2b-api.md` §11.3.
    pub async fn run(&self, command: &Command) -> Result<CommandOutput, ClientError> {
        let operation = format!("run `{}` in sandbox {}", shorten(&command.line), self.id());
        let mut progress = Progress::default();
        let streaming = self.stream(&operation, command, &mut progress);
        let outcome = match command.limit {
            Some(limit) => within(&operation, limit + GRACE, "the stream is open", streaming).await,
            None => streaming.await,
        };
        match outcome {
            Err(ClientError::Deadline { operation, limit, .. }) => {
                Err(ClientError::Deadline { operation, limit, last: progress.describe() })
            }
            Err(error) => Err(error),
            Ok(()) => finish(&operation, progress),
        }
    }

    async fn stream(
        &self,
        operation: &str,
        command: &Command,
        progress: &mut Progress,
    ) -> Result<(), ClientError> {
        let response = self.start(command).send().await.map_err(|source| transport(operation, source))?;
        if !response.status().is_success() {
            return Err(refusal(operation, response).await);
        }
        let mut decoder = FrameDecoder::default();
        let mut bytes = response.bytes_stream();
        while let Some(piece) = bytes.next().await {
            decoder.push(&piece.map_err(|source| transport(operation, source))?);
            while let Some(frame) = decoder.next_frame().map_err(|source| frames(operation, source))? {
                if frame.is_end {
                    return end_of_stream(operation, &frame);
                }
                take(operation, &frame, progress)?;
            }
        }
        decoder.finish().map_err(|source| frames(operation, source))?;
        Err(ClientError::malformed(operation, "the stream has no end frame"))
    }

    fn start(&self, command: &Command) -> reqwest::RequestBuilder {
        let mut process = json!({
            "cmd": "/bin/bash",
            "args": ["-l", "-c", command.line],
            "envs": command.environment,
        });
        if let Some(directory) = &command.working_directory {
            process["cwd"] = Value::String(directory.clone());
        }
        let message = json!({ "process": process, "stdin": false });
        let mut request = self
            .request(Method::POST, &["process.Process", "Start"], command.user.as_deref())
            .header("Content-Type", "application/connect+json")
            .header("Connect-Protocol-Version", "1")
            .header("Connect-Content-Encoding", "identity")
            .header("Keepalive-Ping-Interval", "50");
        if let Some(limit) = command.limit {
            request = request.header("Connect-Timeout-Ms", limit.as_millis().to_string());
        }
        request.body(Frame::message(message.to_string().into_bytes()).encode())
    }
}

fn take(operation: &str, frame: &Frame, progress: &mut Progress) -> Result<(), ClientError> {
    let message: StreamMessage = serde_json::from_slice(&frame.payload)
        .map_err(|error| ClientError::malformed(operation, format!("a message can't be read, {error}")))?;
    let Some(event) = message.event else {
        return Err(ClientError::malformed(operation, "a message has no event"));
    };
    if progress.process_id.is_none() && !matches!(event, Event::Start { .. }) {
        return Err(ClientError::malformed(operation, "the first event is not `start`"));
    }
    match event {
        Event::Start { pid } => progress.process_id = Some(pid),
        Event::Data { stdout, stderr } => {
            append(operation, &mut progress.stdout, stdout)?;
            append(operation, &mut progress.stderr, stderr)?;
        }
        Event::End { exit_code, status, error } => progress.end = Some((exit_code, status, error)),
        Event::Keepalive {} => {}
    }
    Ok(())
}

fn append(operation: &str, output: &mut Vec<u8>, data: Option<String>) -> Result<(), ClientError> {
    let Some(data) = data else { return Ok(()) };
    let bytes = BASE64_STANDARD
        .decode(data)
        .map_err(|error| ClientError::malformed(operation, format!("output is not base64, {error}")))?;
    output.extend(bytes);
    Ok(())
}

fn end_of_stream(operation: &str, frame: &Frame) -> Result<(), ClientError> {
    let end: EndFrame = serde_json::from_slice(&frame.payload).map_err(|error| {
        ClientError::malformed(operation, format!("the end frame can't be read, {error}"))
    })?;
    let Some(EndError { code, message }) = end.error else { return Ok(()) };
    Err(ClientError::Refused(Box::new(Refusal {
        operation: operation.to_owned(),
        status: 200,
        code: Some(Code::Name(code)),
        message,
        request_id: None,
        should_retry: None,
        is_envelope: true,
    })))
}

fn finish(operation: &str, progress: Progress) -> Result<CommandOutput, ClientError> {
    let (Some(process_id), Some((exit_code, status, error))) = (progress.process_id, progress.end) else {
        return Err(ClientError::malformed(operation, "the stream ended without an `end` event"));
    };
    Ok(CommandOutput {
        process_id,
        exit_code,
        status,
        error,
        stdout: String::from_utf8_lossy(&progress.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&progress.stderr).into_owned(),
    })
}

fn frames(operation: &str, source: crate::frames::FrameError) -> ClientError {
    ClientError::Frames { operation: operation.to_owned(), source }
}

fn shorten(line: &str) -> String {
    const LONGEST: usize = 80;
    let first = line.lines().next().unwrap_or_default();
    if first.chars().count() == line.chars().count() && first.chars().count() <= LONGEST {
        return first.to_owned();
    }
    format!("{}…", first.chars().take(LONGEST).collect::<String>())
}
