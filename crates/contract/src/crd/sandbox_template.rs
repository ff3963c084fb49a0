//! Kind `SandboxTemplate` (`kubernetes.md` §1.3): a pod template with a name.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::{any_list, any_object};
use super::{PauseStrategy, RuntimeConfig};

/// A named pod template. Reached through a `templateRef`, only `template` counts.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "agents.kruise.io",
    version = "v1alpha1",
    kind = "SandboxTemplate",
    plural = "sandboxtemplates",
    shortname = "sbt",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    doc = "A pod template with a name, referenced by SandboxSets and Sandboxes."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.template)",
    "message": "template is required"
}]))]
pub struct SandboxTemplateSpec {
    /// Pod template, without a schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub template: Option<Value>,
    /// Not inherited through a templateRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_list")]
    pub volume_claim_templates: Option<Vec<Value>>,
    /// Not inherited through a templateRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub persistent_contents: Option<Vec<String>>,
    /// Not inherited through a templateRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub runtimes: Option<Vec<RuntimeConfig>>,
    /// Not inherited through a templateRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_strategy: Option<PauseStrategy>,
}
