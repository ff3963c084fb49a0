//! A client of the Connect protocol.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::BytesMut;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{Sandbox, soon};

/// A message as a frame.
pub(crate) fn frame(message: &Value) -> Vec<u8> {
    let payload = message.to_string().into_bytes();
    let length = u32::try_from(payload.len()).expect("short");
    [&[0][..], &length.to_be_bytes(), &payload].concat()
}

/// What the end frame of a stream said.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    Fine,
    Error(String),
}

/// A running server stream.
pub(crate) struct Stream {
    answer: Response,
    buffer: BytesMut,
}

impl Stream {
    /// The next message, or how the stream ended.
    pub(crate) async fn next(&mut self) -> Result<Value, End> {
        soon("a message of the stream", self.read()).await
    }

    async fn read(&mut self) -> Result<Value, End> {
        loop {
            if let Some((&[flags, a, b, c, d], _)) = self.buffer.split_first_chunk() {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if self.buffer.len() >= length + 5 {
                    let frame = self.buffer.split_to(length + 5);
                    let message: Value = serde_json::from_slice(&frame[5..]).expect("json");
                    return if flags == 0 { Ok(message) } else { Err(end(&message)) };
                }
            }
            let chunk = self.answer.chunk().await.expect("readable").expect("an end frame");
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// Everything up to the end.
    pub(crate) async fn rest(mut self) -> (Vec<Value>, End) {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Ok(message) => messages.push(message),
                Err(end) => return (messages, end),
            }
        }
    }
}

fn end(message: &Value) -> End {
    match &message["error"] {
        Value::Null => End::Fine,
        error => End::Error(error["code"].as_str().expect("a code").to_owned()),
    }
}

impl Sandbox {
    /// A unary call: status and body.
    pub(crate) async fn call(&self, method: &str, message: Value) -> (u16, Value) {
        send(self.request(Method::POST, method).json(&message)).await
    }

    /// A unary call as the OS user `user`.
    pub(crate) async fn call_as(&self, user: &str, method: &str, message: Value) -> (u16, Value) {
        send(self.request(Method::POST, method).basic_auth(user, Some("")).json(&message)).await
    }

    /// A unary call that must succeed.
    pub(crate) async fn ask(&self, method: &str, message: Value) -> Value {
        let (status, answer) = self.call(method, message).await;
        assert_eq!(status, 200, "{method}: {answer}");
        answer
    }

    /// A unary call that must fail: its code.
    pub(crate) async fn refused(&self, method: &str, message: Value) -> String {
        let (status, answer) = self.call(method, message).await;
        assert_ne!(status, 200, "{method}: {answer}");
        answer["code"].as_str().unwrap_or_else(|| panic!("no Connect error: {answer}")).to_owned()
    }

    /// Begins a server-streaming call with more headers.
    pub(crate) async fn stream_with(&self, method: &str, message: Value, headers: &[(&str, &str)]) -> Stream {
        let mut request =
            self.request(Method::POST, method).header("Content-Type", "application/connect+json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = soon("the stream", request.body(frame(&message)).send()).await.expect("sent");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/connect+json");
        Stream { answer, buffer: BytesMut::new() }
    }

    /// Begins a server-streaming call.
    pub(crate) async fn stream(&self, method: &str, message: Value) -> Stream {
        self.stream_with(method, message, &[]).await
    }

    /// Starts a shell command without standard input: its number and its events.
    pub(crate) async fn shell(&self, command: &str) -> (u64, Stream) {
        let config = json!({ "cmd": "/bin/bash", "args": ["-c", command] });
        self.started(json!({ "process": config, "stdin": false })).await
    }

    /// Starts a process: its number and its events.
    pub(crate) async fn started(&self, request: Value) -> (u64, Stream) {
        let mut stream = self.stream("/process.Process/Start", request).await;
        let start = stream.next().await.expect("the start");
        (start["event"]["start"]["pid"].as_u64().unwrap_or_else(|| panic!("no start: {start}")), stream)
    }
}

async fn send(request: RequestBuilder) -> (u16, Value) {
    let answer = soon("an answer", request.send()).await.expect("sent");
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/json");
    (status, answer.json().await.expect("json"))
}

/// What the events of a process amount to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) pty: String,
    /// The last event.
    pub(crate) end: Value,
}

impl Output {
    /// Reads a stream to its end.
    pub(crate) async fn of(stream: Stream) -> Self {
        let (messages, end) = stream.rest().await;
        assert_eq!(end, End::Fine);
        Self::sum(&messages)
    }

    fn sum(messages: &[Value]) -> Self {
        let joined = |name: &str| {
            let pieces = messages.iter().filter_map(|message| message["event"]["data"][name].as_str());
            let bytes =
                pieces.flat_map(|piece| BASE64_STANDARD.decode(piece).expect("base64")).collect::<Vec<_>>();
            String::from_utf8(bytes).expect("text")
        };
        let ends = messages.iter().filter(|message| !message["event"]["end"].is_null()).count();
        assert_eq!(ends, 1, "exactly one end, and that last: {messages:?}");
        let end = messages.last().expect("an event")["event"]["end"].clone();
        Self { stdout: joined("stdout"), stderr: joined("stderr"), pty: joined("pty"), end }
    }
}

/// Bytes as they are in a message.
pub(crate) fn bytes(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}
