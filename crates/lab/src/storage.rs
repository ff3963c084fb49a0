//! The NFS server from its own side: exports, and files in them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients may do with an export; what a NAS calls the rule of a permission group.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ExportAccess {
    /// Read and write.
    #[default]
    ReadWrite,
    /// Read; changes get `NFS3ERR_ROFS`.
    ReadOnly,
    /// Nothing: MOUNT gets `MNT3ERR_ACCES`, NFS calls with handles from before get `NFS3ERR_ACCES`.
    Refused,
}

/// Whose rights requests have.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Squash {
    /// Those of the user that the client names.
    #[default]
    None,
    /// The same, but root acts as nobody (65534).
    Root,
    /// Everybody acts as nobody.
    All,
}

/// How an export is offered.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExportOptions {
    /// What clients may do; absent means read and write.
    pub access: ExportAccess,
    /// Whose rights their requests have; absent means those of the user that the client names.
    pub squash: Squash,
    /// How many bytes all files may have together, counted by their lengths; what doesn't fit gets `NFS3ERR_NOSPC`.
    /// Absent means as many as the file system below has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
}

/// What to do at the NFS server, past its protocol, its permissions and its faults. Paths are those that clients see:
/// `/share/data/file`. No path leads through a symbolic link.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum ExportCall {
    /// Offer a folder, which is made where it is missing; or offer it in another way.
    Export {
        /// Its path.
        path: String,
        /// How.
        options: ExportOptions,
    },
    /// Write a file, in place of what it held; directories on the way are made, open to everybody.
    Put {
        /// Its path.
        path: String,
        /// What it holds afterwards.
        content: String,
    },
    /// Make a directory and those on the way, open to everybody.
    MakeDirectory {
        /// Its path.
        path: String,
    },
    /// Make a symbolic link.
    Symlink {
        /// Its path.
        path: String,
        /// Where it leads, word for word.
        to: String,
    },
    /// Read a file.
    Get {
        /// Its path.
        path: String,
    },
    /// Look at one file.
    Look {
        /// Its path.
        path: String,
    },
    /// List everything below a directory.
    List {
        /// Its path.
        path: String,
    },
    /// Remove a file, or a directory with all that is in it.
    Delete {
        /// Its path.
        path: String,
    },
}

/// What came of an [`ExportCall`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum ExportReply {
    /// It was done.
    Done,
    /// What a file holds; bytes that are no UTF-8 are replaced.
    Content(String),
    /// The files that were asked for, sorted by path.
    Entries(Vec<ExportEntry>),
    /// It could not be done.
    Refused {
        /// The kernel's word for it, such as `ENOENT`; `EINVAL` for a path that no file can have or that is in no
        /// export.
        code: String,
        /// What was tried and why it failed.
        message: String,
    },
}

/// A file in an export.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportEntry {
    /// Its path as clients know it.
    pub path: String,
    /// `file`, `directory`, `symlink` or `other`.
    pub kind: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its mode as people write it: `0644`.
    pub mode: String,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Where a symbolic link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}
