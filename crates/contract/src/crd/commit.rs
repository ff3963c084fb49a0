//! Kind Commit (`kubernetes.md` §1.7), kept for its schema only: no controller acts on it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which container to turn into an image.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "agents.kruise.io",
    version = "v1alpha1",
    kind = "Commit",
    plural = "commits",
    shortname = "cmt",
    namespaced,
    status = "CommitStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "Turns a container of a pod into an image. No controller of this project acts on it.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "TTL", type_ = "string", json_path = ".spec.ttl"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CommitSpec {
    /// Pod; immutable.
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "podName is immutable"}]))]
    pub pod_name: String,
    /// Container of the pod; immutable.
    #[schemars(extend(
        "x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "containerName is immutable"}]
    ))]
    pub container_name: String,
    /// Image to make; immutable.
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "image is immutable"}]))]
    pub image: String,
    /// Layers to squash.
    #[serde(default)]
    pub squash_layer: i32,
    /// Limit in seconds; 0 means none.
    #[serde(default)]
    pub timeout_seconds: i32,
    /// How long the finished object is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Access to the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_auth: Option<RegistryAuth>,
}

/// Access to an image registry, by reference only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryAuth {
    /// Secret with registry credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// Progress of a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitStatus {
    /// Phase.
    #[serde(default)]
    pub phase: CommitPhase,
    /// Identifier of the commit.
    #[serde(rename = "commitID", default, skip_serializing_if = "Option::is_none")]
    pub commit_id: Option<String>,
    /// Of types `CommitContainer`, `PullBaseImage` and `PushCommittedImage`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When the job started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
}

impl Default for CommitStatus {
    fn default() -> Self {
        Self {
            phase: CommitPhase::Pending,
            commit_id: None,
            conditions: Vec::new(),
            start_time: None,
            completion_time: None,
        }
    }
}

/// Phase of a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CommitPhase {
    /// Not started.
    #[default]
    Pending,
    /// At work.
    Running,
    /// Final.
    Succeeded,
    /// Final.
    Failed,
}
