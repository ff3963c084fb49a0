//! The messages of `filesystem.Filesystem` (`e2b-api.md` §12.2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use crate::envd::connect::number;

/// A request that names a path: `Stat`, `MakeDir`, `Remove`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PathRequest {
    pub(crate) path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MoveRequest {
    pub(crate) source: String,
    pub(crate) destination: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ListDirRequest {
    pub(crate) path: String,
    /// How many levels to show; 0 means 1.
    #[serde(deserialize_with = "number")]
    pub(crate) depth: u32,
}

/// What to watch: `WatchDir`, `CreateWatcher`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WatchRequest {
    pub(crate) path: String,
    /// Whether subdirectories are watched, too.
    pub(crate) recursive: bool,
    /// Whether events carry the entry they are about.
    #[serde(alias = "include_entry")]
    pub(crate) include_entry: bool,
    /// Whether the directory may be on a network file system, where changes made elsewhere cause no events.
    #[serde(alias = "allow_network_mounts")]
    pub(crate) allow_network_mounts: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WatcherRequest {
    #[serde(alias = "watcher_id")]
    pub(crate) watcher_id: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateWatcherResponse {
    pub(crate) watcher_id: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct EventsResponse {
    pub(crate) events: Vec<FilesystemEvent>,
}

#[derive(Debug, Serialize)]
pub(crate) struct EntryResponse {
    pub(crate) entry: EntryInfo,
}

#[derive(Debug, Serialize)]
pub(crate) struct EntriesResponse {
    pub(crate) entries: Vec<EntryInfo>,
}

/// The empty answer.
#[derive(Debug, Serialize)]
pub(crate) struct Empty {}

/// The type of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(crate) enum FileType {
    #[serde(rename = "FILE_TYPE_UNSPECIFIED")]
    Unspecified,
    #[serde(rename = "FILE_TYPE_FILE")]
    File,
    #[serde(rename = "FILE_TYPE_DIRECTORY")]
    Directory,
    #[serde(rename = "FILE_TYPE_SYMLINK")]
    Symlink,
}

/// Something in a directory.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntryInfo {
    pub(crate) name: String,
    /// Of what a link points to.
    pub(crate) r#type: FileType,
    pub(crate) path: String,
    /// In bytes; of the entry itself.
    #[serde(serialize_with = "as_text")]
    pub(crate) size: u64,
    /// The permission bits; of what a link points to.
    pub(crate) mode: u32,
    /// The permissions of the entry itself in Go's notation.
    pub(crate) permissions: String,
    pub(crate) owner: String,
    pub(crate) group: String,
    /// RFC 3339.
    pub(crate) modified_time: String,
    /// What a link points to in the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) symlink_target: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) is_symlink: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_text<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// What happened to an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(crate) enum EventType {
    #[serde(rename = "EVENT_TYPE_CREATE")]
    Create,
    #[serde(rename = "EVENT_TYPE_WRITE")]
    Write,
    #[serde(rename = "EVENT_TYPE_REMOVE")]
    Remove,
    #[serde(rename = "EVENT_TYPE_RENAME")]
    Rename,
    #[serde(rename = "EVENT_TYPE_CHMOD")]
    Chmod,
}

/// A change below a watched directory.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FilesystemEvent {
    /// Relative to the watched directory.
    pub(crate) name: String,
    pub(crate) r#type: EventType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entry: Option<EntryInfo>,
}

/// The messages of `WatchDir`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum WatchMessage {
    Start {},
    Filesystem(Box<FilesystemEvent>),
    Keepalive {},
}
