//! Writing the status (`kubernetes.md` §5.1): a merge patch that clears what became empty.

use contract::crd::{PodInfo, SandboxStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

/// Copies node, address and UID of the pod.
pub(super) fn copy_pod(status: &mut SandboxStatus, pod: &Pod) {
    let node_name = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let pod_ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    status.node_name.clone_from(&node_name);
    status.sandbox_ip.clone_from(&pod_ip);
    let known = status.pod_info.take().unwrap_or_default();
    status.pod_info = Some(PodInfo { node_name, pod_ip, pod_uid: pod.uid(), ..known });
}

/// The merge patch that turns `old` into `new`: changed members, and null for members that are gone. Nothing when
/// they are equal.
pub(crate) fn merge_patch<S: serde::Serialize>(old: Option<&S>, new: &S) -> Option<Value> {
    let old = old.map_or_else(|| json!({}), |old| json!(old));
    let difference = difference(&old, &json!(new))?;
    Some(json!({"status": difference}))
}

/// The merge patch that turns `old` into `new`; nothing when they are equal.
pub(crate) fn difference(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut changed = Map::new();
            for (name, value) in new {
                match old.get(name) {
                    None => {
                        changed.insert(name.clone(), value.clone());
                    }
                    Some(before) => {
                        if let Some(part) = difference(before, value) {
                            changed.insert(name.clone(), part);
                        }
                    }
                }
            }
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                changed.insert(name.clone(), Value::Null);
            }
            (!changed.is_empty()).then_some(Value::Object(changed))
        }
        _ => (old != new).then(|| new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::equal(json!({"phase": "Running"}), json!({"phase": "Running"}), None)]
    #[case::changed(json!({"phase": "Pending"}), json!({"phase": "Running"}), Some(json!({"phase": "Running"})))]
    #[case::cleared(json!({"message": "old", "n": 1}), json!({"n": 1}), Some(json!({"message": null})))]
    #[case::nested(json!({"p": {"ip": "a", "uid": "u"}}), json!({"p": {"ip": "b"}}), Some(json!({"p": {"ip": "b", "uid": null}})))]
    #[case::lists_whole(json!({"c": [1, 2]}), json!({"c": [1]}), Some(json!({"c": [1]})))]
    fn a_patch_holds_what_changed_and_null_for_what_is_gone(
        #[case] old: Value,
        #[case] new: Value,
        #[case] expected: Option<Value>,
    ) {
        assert_eq!(merge_patch(Some(&old), &new), expected.map(|status| json!({"status": status})));
    }
}
