//! What the agent tells the journal: never a token, an environment value, an argument of a command or a secret.

use journal::source;
use serde_json::Value;

/// Reports that `kind` happened to `subject`.
pub(crate) fn announce(kind: &str, subject: &str, body: Value) {
    journal::announce(source::AGENT, kind, subject, body);
}
