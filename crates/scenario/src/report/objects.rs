//! The Kubernetes objects that were there at the end, as the journal's watch events tell.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use journal::{Entry, source};
use serde_json::Value;

/// The last state of every object that was not deleted, as YAML documents. Events are left out; they are in the
/// journal.
pub(super) fn render(entries: &[Arc<Entry>]) -> Result<String, serde_saphyr::SerializeError> {
    let mut objects: BTreeMap<&str, &Value> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.source == source::KUBERNETES) {
        match entry.kind.as_str() {
            "ADDED" | "MODIFIED" if !entry.subject.starts_with("Event/") => {
                objects.insert(&entry.subject, &entry.body);
            }
            "DELETED" => {
                objects.remove(entry.subject.as_str());
            }
            _ => {}
        }
    }
    let mut text = String::new();
    for (subject, object) in objects {
        let _ = writeln!(text, "---\n# {subject}");
        text.push_str(&serde_saphyr::to_string(object)?);
    }
    Ok(text)
}
