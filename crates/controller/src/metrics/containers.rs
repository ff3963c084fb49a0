//! Injected containers that don't come back, and since when: a pod's status says it of the last restart only.

use std::collections::{BTreeMap, HashMap};

use contract::names::containers::RUNTIME_CONTAINERS;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

/// Since when injected containers are abnormal, by UID of the pod and name.
#[derive(Clone, Debug, Default)]
pub(super) struct Containers {
    since: HashMap<String, BTreeMap<String, Timestamp>>,
}

impl Containers {
    /// Takes in a change of a pod, seen at `now`.
    pub(super) fn see(&mut self, old: Option<&Pod>, new: Option<&Pod>, now: Timestamp) {
        let uid = |pod: Option<&Pod>| pod.and_then(kube::ResourceExt::uid);
        if let Some(gone) = uid(old).filter(|gone| uid(new).as_ref() != Some(gone)) {
            self.since.remove(&gone);
        }
        let (Some(pod), Some(uid)) = (new, uid(new)) else { return };
        let before = self.since.remove(&uid).unwrap_or_default();
        let abnormal: BTreeMap<String, Timestamp> = injected(pod)
            .filter(|status| is_abnormal(status))
            .map(|status| (status.name.clone(), before.get(&status.name).copied().unwrap_or(now)))
            .collect();
        if !abnormal.is_empty() {
            self.since.insert(uid, abnormal);
        }
    }

    /// Since when a container of that pod is abnormal, if it is.
    pub(super) fn since(&self, pod: &Pod, container: &str) -> Option<Timestamp> {
        self.since.get(&pod.uid()?)?.get(container).copied()
    }
}

/// The states of the containers that were injected into a pod.
pub(super) fn injected(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let statuses = pod.status.as_ref().and_then(|status| status.init_container_statuses.as_deref());
    statuses.unwrap_or_default().iter().filter(|status| RUNTIME_CONTAINERS.contains(&status.name.as_str()))
}

/// Whether it was restarted and isn't ready again.
pub(super) fn is_abnormal(status: &ContainerStatus) -> bool {
    status.restart_count > 0 && !status.ready
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    /// A pod whose csi-sidecar was restarted so often; `!` behind the number: it isn't ready.
    fn pod(uid: &str, word: &str) -> Option<Pod> {
        if word == "gone" {
            return None;
        }
        let restarts: i32 = word.trim_end_matches('!').parse().expect("a number");
        let status = |name: &str| json!({"name": name, "image": "i", "imageID": "i", "restartCount": restarts, "ready": !word.ends_with('!')});
        let pod = json!({
            "metadata": {"name": "one", "uid": uid}, "spec": {"containers": []},
            "status": {"initContainerStatuses": [status("csi-sidecar"), status("setup")]},
        });
        Some(serde_json::from_value(pod).expect("a pod"))
    }

    /// One state a second of the pod of UID `u`; since when it is abnormal at the end, in seconds.
    #[rstest]
    #[case::starting(&["0!"], None)]
    #[case::restarted(&["0", "1"], None)]
    #[case::crashed(&["0", "1!"], Some(1))]
    #[case::crashes_on(&["0", "1!", "2!", "3!"], Some(1))]
    #[case::crashed_again(&["1!", "1", "2!"], Some(2))]
    #[case::recovered(&["1!", "1"], None)]
    #[case::gone(&["1!", "gone"], None)]
    fn since(#[case] states: &[&str], #[case] expected: Option<i64>) {
        let mut containers = Containers::default();
        let mut old = None;
        for (second, word) in states.iter().enumerate() {
            let new = pod("u", word);
            let now = Timestamp::from_second(i64::try_from(second).expect("small")).expect("small");
            containers.see(old.as_ref(), new.as_ref(), now);
            old = new;
        }
        let any = pod("u", "0").expect("a pod");
        assert_eq!(containers.since(&any, "csi-sidecar").map(Timestamp::as_second), expected);
        assert_eq!(containers.since(&any, "setup"), None, "not an injected one");
        assert_eq!(
            containers.since.len(),
            usize::from(expected.is_some()),
            "nothing is kept that isn't shown"
        );
    }

    #[test]
    fn another_pod_of_the_same_name_begins_anew() {
        let mut containers = Containers::default();
        let (first, second) = (pod("first", "1!"), pod("second", "0"));
        containers.see(None, first.as_ref(), Timestamp::UNIX_EPOCH);
        containers.see(first.as_ref(), second.as_ref(), Timestamp::UNIX_EPOCH);
        assert!(containers.since.is_empty());
    }
}
