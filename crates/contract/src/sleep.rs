//! Pods that their node keeps asleep (`docs/design/0012-hibernation.md`): what controller and node say to each other.
//!
//! ```text
//! node     label mountlab.dev/hibernation: memory      it can
//! pod      annotation mountlab.dev/hibernate: "true"   the controller wants it asleep
//! pod      condition mountlab.dev/Hibernated           the node: True, asleep; False, it can't be kept, and why; absent, awake
//! ```

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;

use crate::conditions::types;
use crate::names::{annotations, labels};

/// How far a pod is on its way between waking and sleeping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// It runs.
    Awake,
    /// It is to sleep, and the node has not answered yet.
    FallingAsleep,
    /// Its processes are stopped, with all that they have in memory, and its files are there.
    Asleep,
    /// It is to run, and the node has not answered yet.
    WakingUp,
    /// The node could not keep it as it was; the node's words.
    Lost(String),
}

impl Sleep {
    /// What the pod says.
    pub fn of(pod: &Pod) -> Self {
        let conditions =
            pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let answer = conditions.iter().find(|condition| condition.type_ == types::HIBERNATED);
        match (is_wanted(pod), answer) {
            (_, Some(answer)) if answer.status != "True" => {
                Self::Lost(answer.message.clone().unwrap_or_default())
            }
            (true, Some(_)) => Self::Asleep,
            (true, None) => Self::FallingAsleep,
            (false, Some(_)) => Self::WakingUp,
            (false, None) => Self::Awake,
        }
    }
}

/// Whether the controller wants the pod asleep.
pub fn is_wanted(pod: &Pod) -> bool {
    pod.annotations().get(annotations::HIBERNATE).is_some_and(|value| value == "true")
}

/// Whether pods of the node keep their processes with their memory, and all files, while they sleep.
pub fn keeps_memory(node: &Node) -> bool {
    node.labels().get(labels::NODE_HIBERNATION).is_some_and(|value| value == labels::KEEPS_MEMORY)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::awake(json!({}), json!([]), Sleep::Awake)]
    #[case::not_wanted(json!({annotations::HIBERNATE: "false"}), json!([]), Sleep::Awake)]
    #[case::falling(json!({annotations::HIBERNATE: "true"}), json!([]), Sleep::FallingAsleep)]
    #[case::asleep(json!({annotations::HIBERNATE: "true"}), json!([{"type": types::HIBERNATED, "status": "True"}]), Sleep::Asleep)]
    #[case::waking(json!({}), json!([{"type": types::HIBERNATED, "status": "True"}]), Sleep::WakingUp)]
    #[case::lost(
        json!({annotations::HIBERNATE: "true"}),
        json!([{"type": types::HIBERNATED, "status": "False", "message": "it ended"}]),
        Sleep::Lost("it ended".into())
    )]
    fn a_pod_says_how_far_it_is(#[case] notes: Value, #[case] conditions: Value, #[case] expected: Sleep) {
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {"annotations": notes}, "status": {"conditions": conditions}}),
        )
        .expect("a pod");
        assert_eq!(Sleep::of(&pod), expected);
    }

    #[rstest]
    #[case(json!({labels::NODE_HIBERNATION: labels::KEEPS_MEMORY}), true)]
    #[case(json!({labels::NODE_HIBERNATION: "disk"}), false)]
    #[case(json!({}), false)]
    fn a_node_says_what_it_keeps(#[case] labels: Value, #[case] expected: bool) {
        let node: Node = serde_json::from_value(json!({"metadata": {"labels": labels}})).expect("a node");
        assert_eq!(keeps_memory(&node), expected);
    }
}
