//! The messages of `process.Process` (`e2b-api.md` §11.2).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize, Serializer};

use crate::envd::connect::{bytes_base64, enumeration, number, optional_number};

/// What to run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct ProcessConfig {
    pub(crate) cmd: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) args: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) envs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cwd: Option<String>,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Size {
    #[serde(deserialize_with = "number")]
    pub(crate) cols: u32,
    #[serde(deserialize_with = "number")]
    pub(crate) rows: u32,
}

/// A terminal.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pty {
    pub(crate) size: Size,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StartRequest {
    pub(crate) process: ProcessConfig,
    pub(crate) pty: Option<Pty>,
    pub(crate) tag: Option<String>,
    /// Whether the process gets a pipe as its standard input; absent means yes.
    pub(crate) stdin: Option<bool>,
}

/// Which process is meant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Selector {
    #[serde(deserialize_with = "optional_number")]
    pub(crate) pid: Option<u32>,
    pub(crate) tag: Option<String>,
}

/// A request that names a process and nothing else: `Connect`, `CloseStdin`, the first message of `StreamInput`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SelectRequest {
    pub(crate) process: Selector,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct UpdateRequest {
    pub(crate) process: Selector,
    pub(crate) pty: Option<Pty>,
}

/// Bytes for a process, for its pipe or its terminal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Input {
    #[serde(deserialize_with = "bytes_base64")]
    pub(crate) stdin: Option<Vec<u8>>,
    #[serde(deserialize_with = "bytes_base64")]
    pub(crate) pty: Option<Vec<u8>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SendInputRequest {
    pub(crate) process: Selector,
    pub(crate) input: Input,
}

/// One message of `StreamInput`: exactly one member is set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamInputRequest {
    pub(crate) start: Option<SelectRequest>,
    pub(crate) data: Option<StreamInputData>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamInputData {
    pub(crate) input: Input,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SendSignalRequest {
    pub(crate) process: Selector,
    #[serde(deserialize_with = "enumeration")]
    pub(crate) signal: String,
}

/// A process as `List` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ProcessInfo {
    pub(crate) config: ProcessConfig,
    pub(crate) pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ListResponse {
    pub(crate) processes: Vec<ProcessInfo>,
}

/// The only member of the messages of `Start` and `Connect`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EventMessage {
    pub(crate) event: Event,
}

/// Something that happened to a process.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Event {
    Start { pid: u32 },
    Data(Data),
    End(End),
    Keepalive {},
}

/// Output of a process.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Data {
    Stdout(#[serde(serialize_with = "base64")] Vec<u8>),
    Stderr(#[serde(serialize_with = "base64")] Vec<u8>),
    Pty(#[serde(serialize_with = "base64")] Vec<u8>),
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct End {
    pub(crate) exit_code: i32,
    pub(crate) exited: bool,
    pub(crate) status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// The empty answer.
#[derive(Debug, Serialize)]
pub(crate) struct Empty {}
