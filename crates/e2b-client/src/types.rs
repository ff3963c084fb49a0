//! Objects of the control plane (`e2b-api.md` §3, §4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A success, with what a test wants to know besides the value.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply<T> {
    /// The HTTP status.
    pub status: u16,
    /// The header `X-Request-ID`.
    pub request_id: Option<String>,
    /// The body.
    pub value: T,
}

/// Body of a create (`e2b-api.md` §4.1). The default value asks for a template without a name, which is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateRequest {
    /// Name of a `SandboxSet`, or a snapshot id.
    #[serde(rename = "templateID")]
    pub template: String,
    /// Seconds until the sandbox is deleted, or paused with [`Self::auto_pause`]; absent means 300.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Pause instead of delete at the timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_pause: Option<bool>,
    /// User metadata and the extension keys that ask for mounts.
    pub metadata: BTreeMap<String, String>,
    /// Default environment of every process in the sandbox.
    pub env_vars: BTreeMap<String, String>,
    /// Mounts asked for in the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Whether the sandbox may reach the internet; absent means yes.
    #[serde(rename = "allow_internet_access", skip_serializing_if = "Option::is_none")]
    pub allow_internet_access: Option<bool>,
    /// Where it may connect to and where it may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkRules>,
}

/// Addresses and names of the field `network` (`e2b-api.md` §4.9).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkRules {
    /// IP addresses, CIDR ranges and domain names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_out: Vec<String>,
    /// IP addresses and CIDR ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_out: Vec<String>,
}

/// One entry of [`CreateRequest::volume_mounts`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct VolumeMount {
    /// Name of a `PersistentVolume` (`storage.md` §1.7).
    pub name: String,
    /// Absolute path in the sandbox.
    pub path: String,
}

/// A sandbox as the API tells of it. Fields that only some calls send are optional.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxInfo {
    /// `<namespace>--<name>` or a short id.
    #[serde(rename = "sandboxID")]
    pub sandbox_id: String,
    /// The template's name.
    #[serde(rename = "templateID")]
    pub template_id: String,
    /// Always empty, but the Python SDK needs it.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Version that envd really implements.
    pub envd_version: String,
    /// Token for envd; absent in lists and on sandboxes without one.
    #[serde(default, skip_serializing)]
    pub envd_access_token: Option<String>,
    /// Domain of `<port>-<id>.<domain>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// When it was claimed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ends, RFC 3339; year 1 means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_at: Option<String>,
    /// `running` or `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// User metadata and what the server adds.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Everything else that was sent, unread.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// A snapshot of a sandbox (`e2b-api.md` §4.10).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SnapshotInfo {
    /// What a create takes as its template.
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    /// The names that it was given; a server may send null.
    #[serde(default)]
    pub names: Option<Vec<String>>,
}

/// What to list (`e2b-api.md` §4.4).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListQuery {
    /// `running` or `paused`, several allowed; empty means both.
    pub states: Vec<String>,
    /// Pairs that must all be in the sandbox's metadata.
    pub metadata: BTreeMap<String, String>,
    /// Items per page, 1 to 100; absent means 100. [`crate::Client::list`] reads every page.
    pub limit: Option<u32>,
}
