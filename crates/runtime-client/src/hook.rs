//! Commands that an upgrade runs in a sandbox (`kubernetes.md` §5.9), by `process.Process/Start` (`e2b-api.md` §11).

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Method, Request, header};
use serde::Deserialize;
use serde_json::json;

use crate::{Endpoint, RuntimeClient};

/// How much longer than the command the call may take: the runtime ends the command at its limit and says so.
const GRACE: Duration = Duration::from_secs(5);
/// Characters of standard error that are told.
const TOLD: usize = 200;
/// Flags and length before each message.
const HEADER: usize = 5;

/// Why a command has not succeeded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HookFailure(String);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    event: Event,
    error: Option<Refusal>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    data: Option<Data>,
    end: Option<End>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Data {
    stderr: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct End {
    exit_code: i32,
    status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: String,
    message: String,
}

impl RuntimeClient {
    /// Runs `command`, program and arguments, as root and to its end, within `limit`. Its output may be about 700 KB.
    ///
    /// # Errors
    /// [`HookFailure`] with the exit status and the end of standard error, or why it could not be run.
    pub async fn run_hook(
        &self,
        endpoint: &Endpoint,
        token: Option<&str>,
        command: &[String],
        limit: Duration,
    ) -> Result<(), HookFailure> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(HookFailure("exec.command is empty: it must name a program".to_owned()));
        };
        let message = json!({"process": {"cmd": program, "args": arguments}, "stdin": false}).to_string();
        let request = Request::builder()
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/connect+json")
            .header("connect-protocol-version", "1")
            .header("connect-timeout-ms", limit.as_millis().to_string())
            .header(header::AUTHORIZATION, format!("Basic {}", BASE64_STANDARD.encode("root:")));
        let path = "/process.Process/Start";
        let sent = self.send(request, endpoint, path, token, framed(message.as_bytes()), limit + GRACE).await;
        let answer = sent.map_err(|error| HookFailure(error.to_string()))?;
        if !answer.status.is_success() {
            return Err(HookFailure(format!("the runtime answered {}", answer.status)));
        }
        outcome(&answer.body)
    }
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What the stream says of the command.
fn outcome(mut stream: &[u8]) -> Result<(), HookFailure> {
    let mut errors = Vec::new();
    let mut end = None;
    while let Some((message, rest)) = next(stream) {
        stream = rest;
        let message: Message = serde_json::from_slice(message)
            .map_err(|error| HookFailure(format!("the runtime's answer can't be read: {error}")))?;
        if let Some(refusal) = message.error {
            return Err(HookFailure(format!("{}: {}", refusal.code, refusal.message)));
        }
        if let Some(data) = message.event.data {
            errors.extend(BASE64_STANDARD.decode(data.stderr).unwrap_or_default());
        }
        end = message.event.end.or(end);
    }
    match end {
        None => Err(HookFailure("the runtime's answer ended before the command did".to_owned())),
        Some(end) if end.exit_code == 0 => Ok(()),
        Some(end) => {
            let text = String::from_utf8_lossy(&errors);
            let text = text.trim();
            let skipped = text.chars().count().saturating_sub(TOLD);
            let told: String = text.chars().skip(skipped).collect();
            let separator = if told.is_empty() { "" } else { ": " };
            Err(HookFailure(format!("{}{separator}{told}", end.status)))
        }
    }
}

/// The first message of the stream, and what comes after it.
fn next(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let length: [u8; 4] = stream.get(1..HEADER)?.try_into().ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    stream.get(HEADER..)?.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::fine(&[r#"{"event":{"start":{"pid":7}}}"#, r#"{"event":{"end":{"exitCode":0,"exited":true,"status":"exit status 0"}}}"#, "{}"], None)]
    #[case::failed(&[r#"{"event":{"data":{"stderr":"bm8gcm9vbQo="}}}"#, r#"{"event":{"end":{"exitCode":3,"status":"exit status 3"}}}"#, "{}"], Some("exit status 3: no room"))]
    #[case::silent(&[r#"{"event":{"data":{"stdout":"eA=="}}}"#, r#"{"event":{"end":{"exitCode":1,"status":"exit status 1"}}}"#, "{}"], Some("exit status 1"))]
    #[case::refused(&[r#"{"error":{"code":"deadline_exceeded","message":"too long"}}"#], Some("deadline_exceeded: too long"))]
    #[case::torn(&[r#"{"event":{"start":{"pid":7}}}"#], Some("ended before the command did"))]
    #[case::no_json(&["<html>"], Some("can't be read"))]
    fn what_a_stream_says(#[case] messages: &[&str], #[case] expected: Option<&str>) {
        let stream: Vec<u8> = messages.iter().flat_map(|message| framed(message.as_bytes())).collect();
        let found = outcome(&stream).err().map(|failure| failure.to_string());
        match expected {
            None => assert_eq!(found, None),
            Some(phrase) => assert!(found.as_ref().is_some_and(|text| text.contains(phrase)), "{found:?}"),
        }
    }
}
