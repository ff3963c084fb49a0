//! What a paused sandbox keeps.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a paused sandbox keeps on a backend, besides its id, token, environment, mount list and claims of volumes, which it keeps on
/// each.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kept {
    /// Its processes with all that they have in memory, and every file.
    MemoryAndFiles,
    /// Nothing: it wakes up in a new pod.
    NothingElse,
}

impl Kept {
    /// What a backend keeps that has [`Capability::MemoryKept`], or doesn't.
    ///
    /// [`Capability::MemoryKept`]: crate::Capability::MemoryKept
    pub fn by(memory_kept: bool) -> Self {
        if memory_kept { Self::MemoryAndFiles } else { Self::NothingElse }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::MemoryAndFiles => "processes with their memory, and files",
            Self::NothingElse => "neither processes nor its own files: it wakes up in a new pod",
        })
    }
}
