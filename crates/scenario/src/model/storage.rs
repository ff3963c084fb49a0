//! What the storage servers hold, and a step at the NFS server.

use std::collections::BTreeMap;

use lab::ExportOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the storage servers hold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Storage {
    /// Buckets, and in each the objects by key. The first bucket is the placeholder `OSS_BUCKET`.
    #[serde(default)]
    pub oss: BTreeMap<String, BTreeMap<String, String>>,
    /// Exports of the NFS server by path, such as `/share`, and in each the files by their path below it. A path with
    /// a slash at its end is a directory. What is made is open to everybody.
    #[serde(default)]
    pub nas: BTreeMap<String, BTreeMap<String, String>>,
    /// How exports of `nas` are offered where it is not read and write for everybody.
    #[serde(default)]
    pub exports: BTreeMap<String, ExportOptions>,
}

/// One thing done at the NFS server, from its own side: past its protocol, its permissions and its faults. Exactly one
/// of `get`, `look`, `list`, `put`, `directory`, `symlink`, `delete` and `export`, each with a path as clients see
/// it: `/share/data/file`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NasStep {
    /// A file to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub get: Option<String>,
    /// A file to look at; its entry is the outcome's `entry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<String>,
    /// A directory to list with everything below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// A file to write; `content` says what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put: Option<String>,
    /// What [`Self::put`] writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// A directory to make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// A symbolic link to make; `to` says where it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symlink: Option<String>,
    /// Where [`Self::symlink`] leads, word for word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// A file to remove, or a directory with all that is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<String>,
    /// An export to offer in another way from now on; `options` says how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<String>,
    /// How [`Self::export`] is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<ExportOptions>,
}
