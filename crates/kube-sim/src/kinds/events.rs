//! The two faces of an event: core `v1` (as stored) and `events.k8s.io/v1`.
//!
//! kube's recorder writes the newer form, `kubectl describe` reads the older one.

use serde_json::{Map, Value};

/// Names in core `v1` and in `events.k8s.io/v1`; every other member is named alike.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(event: &Value, name: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(members) = event else { return event.clone() };
    members
        .iter()
        .map(|(key, value)| (name(key).unwrap_or(key).to_owned(), value.clone()))
        .collect::<Map<_, _>>()
        .into()
}

/// The `events.k8s.io/v1` form of a stored event.
pub(super) fn to_modern(event: &Value) -> Value {
    rename(event, |key| NAMES.iter().find(|(core, _)| *core == key).map(|(_, modern)| *modern))
}

/// The form in which an `events.k8s.io/v1` event is stored.
pub(super) fn to_core(event: &Value) -> Value {
    let mut stored =
        rename(event, |key| NAMES.iter().find(|(_, modern)| *modern == key).map(|(core, _)| *core));
    stored["apiVersion"] = "v1".into();
    stored
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_keeps_everything_on_the_way_there_and_back() {
        let modern = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"}, "reason": "Pulled",
            "regarding": {"kind": "Pod"}, "note": "done", "reportingController": "kubelet", "deprecatedCount": 2,
        });
        let core = to_core(&modern);
        assert_eq!(core["involvedObject"]["kind"], "Pod");
        assert_eq!(core["message"], "done");
        let mut back = to_modern(&core);
        back["apiVersion"] = "events.k8s.io/v1".into();
        assert_eq!(back, modern);
    }
}
