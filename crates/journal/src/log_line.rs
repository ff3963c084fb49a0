//! Journal entries as lines of a process's standard output.

use std::io::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Draft;

#[derive(Deserialize, Serialize)]
struct Line {
    #[serde(rename = "mountlab.journal")]
    draft: Draft,
}

impl Draft {
    /// The draft as one line of JSON, without the line break.
    pub fn to_log_line(&self) -> String {
        serde_json::json!({ "mountlab.journal": self }).to_string()
    }

    /// The draft that `line` of a pod's log carries, if it carries one.
    pub fn from_log_line(line: &str) -> Option<Self> {
        if !line.starts_with("{\"mountlab.journal\":") {
            return None;
        }
        serde_json::from_str::<Line>(line).ok().map(|line| line.draft)
    }
}

/// Writes an entry to standard output, for a process that runs in a pod. An output that is closed is no error: the
/// work goes on without its diary.
pub fn announce(source: &str, kind: &str, subject: &str, body: Value) {
    let draft = Draft { source: source.into(), kind: kind.into(), subject: subject.into(), body };
    let mut line = draft.to_log_line();
    line.push('\n');
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(line.as_bytes()).and_then(|()| output.flush());
}
