//! Kind SandboxClaim (`kubernetes.md` §1.4): takes sandboxes out of a pool by a Kubernetes object.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CsiMountConfig, RuntimeConfig};

/// What to take from a pool and how.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "agents.kruise.io",
    version = "v1alpha1",
    kind = "SandboxClaim",
    plural = "sandboxclaims",
    shortname = "sbc",
    namespaced,
    status = "SandboxClaimStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "Takes sandboxes out of a SandboxSet's pool, with volumes mounted on the way.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Template", type_ = "string", json_path = ".spec.templateName"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Claimed", type_ = "integer", json_path = ".status.claimedReplicas"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct SandboxClaimSpec {
    /// Name of a SandboxSet in the namespace.
    pub template_name: String,
    /// Sandboxes to claim; immutable.
    #[serde(default = "one", skip_serializing_if = "Option::is_none")]
    #[schemars(
        range(min = 1),
        extend(
            "x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "replicas is immutable"}]
        )
    )]
    pub replicas: Option<i32>,
    /// Deletion deadline of every claimed sandbox; clears pauseTime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_time: Option<Time>,
    /// Limit of the claim, a Go duration of at least 1s.
    #[serde(default = "one_minute", skip_serializing_if = "Option::is_none")]
    #[schemars(extend(
        "x-kubernetes-validations" = [{
            "rule": "duration(self) >= duration('1s')",
            "message": "claimTimeout must be at least 1s"
        }]
    ))]
    pub claim_timeout: Option<String>,
    /// How long the completed claim is kept, a Go duration; negative: for ever.
    #[serde(default = "sixty_minutes", skip_serializing_if = "Option::is_none")]
    pub ttl_after_completed: Option<String>,
    /// Labels for the claimed sandboxes and their pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations for the claimed sandboxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Environment of the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_vars: Option<BTreeMap<String, String>>,
    /// Change of the first container on claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inplace_update: Option<InplaceUpdate>,
    /// Volumes to mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["mountPath"]))]
    pub dynamic_volumes_mount: Option<Vec<CsiMountConfig>>,
    /// Stored, never acted on: injection is decided by the pool's sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub runtimes: Option<Vec<RuntimeConfig>>,
    /// Keep a half-claimed sandbox for debugging.
    #[serde(default = "no", skip_serializing_if = "Option::is_none")]
    pub reserve_failed_sandbox: Option<bool>,
    /// Build a sandbox when the pool is empty.
    #[serde(default = "yes", skip_serializing_if = "Option::is_none")]
    pub create_on_no_stock: Option<bool>,
    /// Limit of readiness, a Go duration of at least 1s.
    #[serde(default = "thirty_seconds", skip_serializing_if = "Option::is_none")]
    #[schemars(extend(
        "x-kubernetes-validations" = [{
            "rule": "duration(self) >= duration('1s')",
            "message": "waitReadyTimeout must be at least 1s"
        }]
    ))]
    pub wait_ready_timeout: Option<String>,
    /// Skip the /init handshake.
    #[serde(default = "no", skip_serializing_if = "Option::is_none")]
    pub skip_init_runtime: Option<bool>,
}

/// Change of the first container on claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InplaceUpdate {
    /// Image reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<InplaceUpdateResources>,
}

/// Resources of the first container after the claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InplaceUpdateResources {
    /// Requests by resource name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<BTreeMap<String, Quantity>>,
    /// Limits by resource name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<BTreeMap<String, Quantity>>,
}

/// Progress of a claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxClaimStatus {
    /// Generation last processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Claiming or Completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ClaimPhase>,
    /// What happened, with the real error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Sandboxes claimed so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_replicas: Option<i32>,
    /// First pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_start_time: Option<Time>,
    /// When it was Completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Of types Completed and `TimedOut`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Phase of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClaimPhase {
    /// At work.
    Claiming,
    /// Final, successful or not.
    Completed,
}

#[allow(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
fn one() -> Option<i32> {
    Some(1)
}

#[allow(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
fn no() -> Option<bool> {
    Some(false)
}

#[allow(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
fn yes() -> Option<bool> {
    Some(true)
}

#[allow(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
fn one_minute() -> Option<String> {
    Some("1m".to_owned())
}

#[allow(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
fn sixty_minutes() -> Option<String> {
    Some("60m".to_owned())
}

#[allow(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
fn thirty_seconds() -> Option<String> {
    Some("30s".to_owned())
}
