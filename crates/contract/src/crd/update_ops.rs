//! Kind `SandboxUpdateOps` (`kubernetes.md` §1.6): upgrades claimed sandboxes in groups.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Lifecycle;
use super::schema::{any_object, int_or_percent, label_selector};

/// Which sandboxes to upgrade and how.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "agents.kruise.io",
    version = "v1alpha1",
    kind = "SandboxUpdateOps",
    plural = "sandboxupdateops",
    singular = "sandboxupdateops",
    shortname = "suo",
    namespaced,
    status = "SandboxUpdateOpsStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "Upgrades the claimed sandboxes that a selector matches, a few at a time.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Total", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Updated", type_ = "integer", json_path = ".status.updatedReplicas"),
    printcolumn(name = "Updating", type_ = "integer", json_path = ".status.updatingReplicas"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.failedReplicas"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.patch) == has(oldSelf.patch)", "message": "patch is immutable"},
    {"rule": "has(self.lifecycle) == has(oldSelf.lifecycle)", "message": "lifecycle is immutable"}
]))]
pub struct SandboxUpdateOpsSpec {
    /// Sandboxes of the namespace to upgrade; immutable.
    #[schemars(
        schema_with = "label_selector",
        extend("x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "selector is immutable"}])
    )]
    pub selector: LabelSelector,
    /// Way and pace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_strategy: Option<UpdateOpsStrategy>,
    /// Strategic-merge patch of the pod template; immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub patch: Option<Value>,
    /// Hooks, copied to each sandbox; immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self == oldSelf", "message": "lifecycle is immutable"},
        {
            "rule": "!has(self.preUpgrade) || has(self.preUpgrade.exec)",
            "message": "preUpgrade must say what to run: exec is required"
        },
        {
            "rule": "!has(self.postUpgrade) || has(self.postUpgrade.exec)",
            "message": "postUpgrade must say what to run: exec is required"
        }
    ]))]
    pub lifecycle: Option<Lifecycle>,
    /// Stops starting new upgrades.
    #[serde(default)]
    pub paused: bool,
    /// Which states count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_filter: Option<StateFilter>,
}

/// Way and pace of the upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateOpsStrategy {
    /// Absent means Recreate.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<UpdateOpsType>,
    /// Upgrades at the same time: number, or percentage of the matched ones rounded up; absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int_or_percent")]
    pub max_unavailable: Option<IntOrString>,
}

/// Ways of upgrading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateOpsType {
    /// Delete the pod and make a new one.
    Recreate,
    /// The same, with a file system checkpoint in between.
    CheckpointRestore,
}

/// Which states count; absent or empty means Running only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateFilter {
    /// A set of states.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub states: Vec<TargetState>,
}

/// A state that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetState {
    /// Running sandboxes.
    Running,
    /// Paused sandboxes.
    Paused,
}

/// Progress of the operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxUpdateOpsStatus {
    /// Generation last processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Phase; Completed and Failed are final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<UpdateOpsPhase>,
    /// Matched sandboxes.
    pub replicas: i32,
    /// Upgraded ones.
    pub updated_replicas: i32,
    /// Failed ones.
    pub failed_replicas: i32,
    /// Ones being upgraded.
    pub updating_replicas: i32,
    /// Completed and Failed, one of each type; upstream writes none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl SandboxUpdateOps {
    /// Whether the operation is over: nothing but its deletion can follow.
    pub fn is_over(&self) -> bool {
        let phase = self.status.as_ref().and_then(|status| status.phase);
        matches!(phase, Some(UpdateOpsPhase::Completed | UpdateOpsPhase::Failed))
    }
}

impl UpdateOpsPhase {
    /// The phase as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Updating => "Updating",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
        }
    }
}

/// Phase of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateOpsPhase {
    /// Not started.
    Pending,
    /// At work.
    Updating,
    /// All upgraded.
    Completed,
    /// Some failed.
    Failed,
}
