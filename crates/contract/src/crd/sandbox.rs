//! Kind Sandbox (`kubernetes.md` §1.1): one isolated pod with a life of its own.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::{any_list, any_object};
use super::{Lifecycle, PauseStrategy, RuntimeConfig, TemplateRef};

/// What a sandbox should be.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "agents.kruise.io",
    version = "v1alpha1",
    kind = "Sandbox",
    plural = "sandboxes",
    shortname = "sbx",
    namespaced,
    status = "SandboxStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "One isolated pod with a life of its own: claimed, paused, resumed, upgraded, deleted at a deadline.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Claimed",
        type_ = "string",
        json_path = ".metadata.labels.agents\\.kruise\\.io/sandbox-claimed"
    ),
    printcolumn(name = "shutdown_time", type_ = "string", json_path = ".spec.shutdownTime"),
    printcolumn(name = "pause_time", type_ = "string", json_path = ".spec.pauseTime"),
    printcolumn(name = "RecycledCount", type_ = "integer", json_path = ".status.recycledCount"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message")
)]
#[serde(rename_all = "camelCase")]
pub struct SandboxSpec {
    /// Desired hibernation.
    #[serde(default)]
    pub paused: bool,
    /// How to pause; stored, the pod is always stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_strategy: Option<PauseStrategy>,
    /// What survives a pause; known words: ip, memory, filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub persistent_contents: Option<Vec<String>>,
    /// Deletion deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_time: Option<Time>,
    /// Automatic-pause deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_time: Option<Time>,
    /// Runtimes to inject into the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub runtimes: Option<Vec<RuntimeConfig>>,
    /// Hooks of a replacing upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// Replacing upgrade policy; absent means in-place updates only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_policy: Option<UpgradePolicy>,
    /// `SandboxTemplate` to take the pod template from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<TemplateRef>,
    /// Pod template, without a schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub template: Option<Value>,
    /// `PersistentVolumeClaims` made for the sandbox, without a schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_list")]
    pub volume_claim_templates: Option<Vec<Value>>,
}

/// How a changed template reaches a running sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpgradePolicy {
    /// Replace the pod, or replace it from a checkpoint.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<UpgradePolicyType>,
}

/// Replacing upgrade policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpgradePolicyType {
    /// Delete the pod and make a new one.
    Recreate,
    /// The same, with a file system checkpoint in between.
    CheckpointRestore,
}

/// What the controller saw last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxStatus {
    /// Generation last processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Phase of the life (kubernetes.md §1.8).
    #[serde(default, skip_serializing_if = "SandboxPhase::is_none")]
    #[schemars(with = "String")]
    pub phase: SandboxPhase,
    /// Reason of a terminal phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Conditions, one of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_info: Option<PodInfo>,
    /// Copy of the pod's node; stale while paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Copy of the pod's address; stale while paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_ip: Option<String>,
    /// Hash of the desired template (kubernetes.md §2.6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_revision: Option<String>,
    /// Times returned to the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recycled_count: Option<i32>,
}

/// What is known of the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodInfo {
    /// Facts that the controller must remember, such as the container whose runtime it initialised last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Not filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Node of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Address of the pod.
    #[serde(rename = "podIP", default, skip_serializing_if = "Option::is_none")]
    pub pod_ip: Option<String>,
    /// UID of the pod.
    #[serde(rename = "podUID", default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
}

/// Phase of a sandbox (`kubernetes.md` §1.8). Any other text is kept as [`SandboxPhase::Other`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum SandboxPhase {
    /// Just created, not reconciled yet.
    #[default]
    None,
    /// The pod is missing or not yet Running.
    Pending,
    /// The pod was seen Running.
    Running,
    /// Pausing or paused; condition `SandboxPaused` tells which.
    Paused,
    /// The pod is being rebuilt.
    Resuming,
    /// A replacing upgrade is in progress.
    Upgrading,
    /// Being cleaned for the pool.
    Recycling,
    /// Final.
    Succeeded,
    /// Final.
    Failed,
    /// Tested for by consumers, never written.
    Terminating,
    /// A phase this build doesn't know.
    Other(String),
}

impl SandboxPhase {
    /// Whether the sandbox has not been reconciled yet.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Whether nothing but deletion can follow.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    /// The phase as the API writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::None => "",
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Resuming => "Resuming",
            Self::Upgrading => "Upgrading",
            Self::Recycling => "Recycling",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
            Self::Other(other) => other,
        }
    }
}

impl From<String> for SandboxPhase {
    fn from(text: String) -> Self {
        match text.as_str() {
            "" => Self::None,
            "Pending" => Self::Pending,
            "Running" => Self::Running,
            "Paused" => Self::Paused,
            "Resuming" => Self::Resuming,
            "Upgrading" => Self::Upgrading,
            "Recycling" => Self::Recycling,
            "Succeeded" => Self::Succeeded,
            "Failed" => Self::Failed,
            "Terminating" => Self::Terminating,
            _ => Self::Other(text),
        }
    }
}

impl From<SandboxPhase> for String {
    fn from(phase: SandboxPhase) -> Self {
        phase.as_str().to_owned()
    }
}
