//! A sandbox's mount table, as seen from outside the sandbox.

use serde::{Deserialize, Serialize};

/// One line of `/proc/PID/mountinfo`, resolved.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where it is mounted, as a path inside the container.
    pub path: String,
    /// The symbolic links of the container's root that lead to it, such as `/data-oss`.
    pub links: Vec<String>,
    /// File system type, such as `fuse.ossfs` or `nfs`.
    pub file_system: String,
    /// What is mounted: a device, `server:/path` or the mounter's name.
    pub source: String,
    /// Whether the mount refuses writes (either the mount or its super block is read-only).
    pub read_only: bool,
    /// Mount and super block options, without repeats.
    pub options: Vec<String>,
}
