//! Kind SandboxSet (`kubernetes.md` §1.2): a warm pool of unclaimed sandboxes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::{any_list, any_object, int_or_percent, update_budget};
use super::{PauseStrategy, RuntimeConfig, TemplateRef};

/// Part of the pool that may be replaced at a time when the set doesn't say.
pub const DEFAULT_UPDATE_BUDGET: &str = "20%";

/// What a pool should be.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "agents.kruise.io",
    version = "v1alpha1",
    kind = "SandboxSet",
    plural = "sandboxsets",
    shortname = "sbs",
    namespaced,
    status = "SandboxSetStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A warm pool: keeps a number of unclaimed sandboxes of one template ready.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Available", type_ = "integer", json_path = ".status.availableReplicas"),
    printcolumn(name = "UpdatedReplicas", type_ = "integer", json_path = ".status.updatedReplicas"),
    printcolumn(
        name = "UpdatedAvailableReplicas",
        type_ = "integer",
        json_path = ".status.updatedAvailableReplicas"
    ),
    printcolumn(name = "UpdateRevision", type_ = "string", json_path = ".status.updateRevision"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.template) && has(self.templateRef))",
    "message": "only one of template and templateRef may be given"
}]))]
pub struct SandboxSetSpec {
    /// Unclaimed sandboxes to keep.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self >= 0",
        "message": "must not be negative"
    }]))]
    pub replicas: i32,
    /// Copied to every generated Sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_strategy: Option<PauseStrategy>,
    /// Copied to every generated Sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub persistent_contents: Option<Vec<String>>,
    /// Runtimes to inject; copied to every generated Sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub runtimes: Option<Vec<RuntimeConfig>>,
    /// `SandboxTemplate` to take the pod template from; not together with template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<TemplateRef>,
    /// Pod template, without a schema; not together with templateRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub template: Option<Value>,
    /// `PersistentVolumeClaims` made for every sandbox, without a schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_list")]
    pub volume_claim_templates: Option<Vec<Value>>,
    /// Limits of scaling up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_strategy: Option<ScaleStrategy>,
    /// Limits of rolling the unclaimed pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {"maxUnavailable": DEFAULT_UPDATE_BUDGET}))]
    pub update_strategy: Option<UpdateStrategy>,
}

/// Limits of scaling up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleStrategy {
    /// Cap on sandboxes that are being created at the same time: number or percentage of replicas; absent: no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int_or_percent")]
    pub max_unavailable: Option<IntOrString>,
}

/// Limits of rolling the unclaimed pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// Cap on available sandboxes that are replaced at the same time: number or percentage; absent: 20 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "update_budget")]
    pub max_unavailable: Option<IntOrString>,
}

/// What the controller saw last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxSetStatus {
    /// Generation last processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Unclaimed sandboxes that are being created or available.
    pub replicas: i32,
    /// Unclaimed sandboxes that are available.
    pub available_replicas: i32,
    /// Current target revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_revision: Option<String>,
    /// Name of the `SandboxTemplate` in use (not a hash).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<String>,
    /// Those of replicas at the target revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_replicas: Option<i32>,
    /// Those of availableReplicas at the target revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_available_replicas: Option<i32>,
    /// Label selector of the pool's unclaimed sandboxes, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Of types Available and `UpToDate`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
