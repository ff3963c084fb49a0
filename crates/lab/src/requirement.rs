//! What a backend needs of the machine, and whether it is there.

use serde::Serialize;

/// One thing that a backend needs; a row of `mountlab doctor`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// What is needed, such as `/dev/fuse`.
    pub name: &'static str,
    /// What for.
    pub purpose: &'static str,
    /// Whether it is there.
    pub met: bool,
    /// Whether the backend runs without it, with less: a step that needs it then fails by name.
    pub optional: bool,
    /// What was found.
    pub found: String,
    /// How to get it, when it is missing.
    pub remedy: String,
}
