//! What each action's outcome has, so that an expectation of something else is refused before the run.

/// What an outcome member is, as far as an expectation can be checked without running.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Member {
    /// A text, a number or a truth value: a mapping can only be matchers.
    Plain,
    /// A mapping or a list.
    Tree,
}

use Member::{Plain, Tree};

const REFUSAL: [(&str, Member); 5] =
    [("status", Plain), ("code", Plain), ("message", Plain), ("requestId", Plain), ("shouldRetry", Plain)];
const PROCESS: [(&str, Member); 3] = [("exitCode", Plain), ("stdout", Plain), ("stderr", Plain)];

/// The members of an action's outcome; none where it has no outcome to compare.
pub(crate) fn members(action: &str) -> Vec<(&'static str, Member)> {
    let own: &[(&'static str, Member)] = match action {
        "create" | "connect" | "info" => &[("sandbox", Tree)],
        "sandboxes" => &[("sandboxes", Tree)],
        "snapshot" => &[("snapshotID", Plain), ("names", Tree)],
        "snapshots" => &[("snapshots", Tree)],
        "run" => &[("exitCode", Plain), ("stdout", Plain), ("stderr", Plain), ("error", Plain)],
        "read" => &[("content", Plain)],
        "list" => &[("entries", Tree)],
        "apply" => &[("objects", Tree)],
        "patch" | "adopt" => &[("object", Tree)],
        "get" => &[("object", Tree), ("value", Tree)],
        "oss" => &[("content", Plain), ("keys", Tree)],
        "nas" => {
            return vec![
                ("content", Plain),
                ("paths", Tree),
                ("entries", Tree),
                ("entry", Tree),
                ("code", Plain),
                ("message", Plain),
            ];
        }
        "python" | "javascript" | "shell" | "kubectl" => return PROCESS.to_vec(),
        "mounts" | "eventually" | "holds" => return Vec::new(),
        "fault" | "heal" | "advance" => return vec![("status", Plain)],
        _ => &[],
    };
    let of_api = matches!(
        action,
        "create"
            | "connect"
            | "pause"
            | "resume"
            | "info"
            | "sandboxes"
            | "timeout"
            | "snapshot"
            | "snapshots"
            | "deleteSnapshot"
            | "kill"
    );
    own.iter().copied().chain(REFUSAL).chain(of_api.then_some(("answered", Plain))).collect()
}

/// Whether the action can be started in the background: it has an outcome that is waited for, and needs no earlier
/// outcome to be remembered meanwhile.
pub(crate) fn may_wait(action: &str) -> bool {
    matches!(
        action,
        "create"
            | "connect"
            | "pause"
            | "resume"
            | "snapshot"
            | "deleteSnapshot"
            | "kill"
            | "run"
            | "write"
            | "read"
            | "delete"
            | "python"
            | "javascript"
            | "shell"
            | "kubectl"
    )
}

/// Whether the action only looks, so that it may be repeated until it shows what is expected.
pub(crate) fn only_looks(action: &str) -> bool {
    matches!(
        action,
        "info"
            | "sandboxes"
            | "snapshots"
            | "read"
            | "list"
            | "mounts"
            | "get"
            | "adopt"
            | "run"
            | "shell"
            | "kubectl"
            | "oss"
            | "nas"
    )
}
