//! Committed writes as journal entries, without what must not be in a journal.

use journal::{Journal, secrecy, source};
use serde_json::Value;

use super::{Address, Change};
use crate::fields::apply::LAST_APPLIED;

pub(super) fn record(journal: &Journal, change: &Change) {
    let kind = change.object["kind"].as_str().unwrap_or("Unknown");
    let subject = subject(kind, &change.address);
    journal.record(source::KUBERNETES, change.kind.name(), &subject, presentable(&change.object));
}

fn subject(kind: &str, address: &Address) -> String {
    if address.namespace.is_empty() {
        format!("{kind}/{}", address.name)
    } else {
        format!("{kind}/{}/{}", address.namespace, address.name)
    }
}

/// The object without managed fields; of a Secret, every value is redacted, also the copy that `kubectl apply` keeps
/// in an annotation.
fn presentable(object: &Value) -> Value {
    let mut body = object.clone();
    if let Some(metadata) = body["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    if body["kind"] == "Secret" {
        for member in ["data", "stringData"] {
            for value in body
                .get_mut(member)
                .and_then(Value::as_object_mut)
                .into_iter()
                .flat_map(|data| data.values_mut())
            {
                *value = secrecy::REDACTED.into();
            }
        }
        if let Some(copy) =
            body.pointer_mut("/metadata/annotations").and_then(|all| all.get_mut(LAST_APPLIED))
        {
            *copy = secrecy::REDACTED.into();
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secrets_values_never_reach_the_journal() {
        let secret = json!({
            "kind": "Secret",
            "metadata": {"name": "oss-secret", "managedFields": [1], "annotations": {LAST_APPLIED: "{\"k\":\"hunter22\"}"}},
            "data": {"akSecret": "aHVudGVyMjI="},
        });
        let body = presentable(&secret);
        assert_eq!(body["data"]["akSecret"], secrecy::REDACTED);
        assert!(!body.to_string().contains("hunter22"));
        assert!(body["metadata"].get("managedFields").is_none());
    }
}
