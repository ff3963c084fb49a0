//! Faults as data: the words that scenarios use, the same on every backend.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fault to inject, at one of four levels.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Fault {
    /// The object store misbehaves.
    Oss(OssFault),
    /// The NFS server misbehaves.
    Nas(NasFault),
    /// A process is killed with SIGKILL.
    Kill(KillFault),
}

/// What the object store does wrong.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OssFault {
    /// Only requests of this operation (`GetObject`, `PutObject`, `ListObjectsV2`, …); absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Answer with this HTTP status and S3 error code instead of doing the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Wait this many milliseconds before answering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_milliseconds: Option<u64>,
    /// Break the connection after half of the body.
    #[serde(default)]
    pub half_body: bool,
    /// How many requests it strikes; absent means every one until healed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// What the NFS server does wrong. `gone` and `stale` stand alone; the others can be combined.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the switches of a scenario's file, each on its own")]
pub struct NasFault {
    /// Only calls of this procedure (`READ`, `WRITE`, `LOOKUP`, `MNT`, …); absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub procedure: Option<String>,
    /// Answer with this status instead of doing the work: `NFS3ERR_IO`, `NFS3ERR_JUKEBOX`, …; of `MNT`,
    /// `MNT3ERR_ACCES`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Wait this many milliseconds before answering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_milliseconds: Option<u64>,
    /// Give no answer until healed, over a connection that stays.
    #[serde(default)]
    pub hang: bool,
    /// Break the connection instead of answering.
    #[serde(default)]
    pub drop_connection: bool,
    /// No space is left: whatever needs some gets `NFS3ERR_NOSPC`, or `error`.
    #[serde(default)]
    pub full: bool,
    /// The server is gone: its connections are cut and new ones refused, until healed.
    #[serde(default)]
    pub gone: bool,
    /// Every file handle that was given out is stale from now on, for good.
    #[serde(default)]
    pub stale: bool,
    /// How many calls it strikes; absent means every one until healed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// Which process is killed.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KillFault {
    /// Namespace of the sandbox's pod.
    pub namespace: String,
    /// Name of the sandbox's pod.
    pub pod: String,
    /// The container whose first process is killed.
    pub container: String,
}

/// Names an injected fault within its lab.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct FaultHandle(pub u64);
