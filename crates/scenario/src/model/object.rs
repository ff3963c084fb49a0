//! Steps at Kubernetes objects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::expectation::default_namespace;

/// Objects to apply; exactly one of the members.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyStep {
    /// A file below `fixtures/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixture: Option<String>,
    /// One object, in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Value>,
}

/// Names a Kubernetes object.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectReference {
    /// Its API version; absent means `agents.kruise.io/v1alpha1` for our kinds and `v1` for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace, where its kind has one; absent means `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
}

/// A change of an object.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchStep {
    /// The object.
    pub object: ObjectReference,
    /// A JSON merge patch.
    pub merge: Value,
}

/// An object to delete.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteStep {
    /// The object.
    pub object: ObjectReference,
}

/// An object to read.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetStep {
    /// Name by which later steps call its outcome, as in `${name.object.status.podIP}`.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The object.
    pub object: ObjectReference,
    /// A JSON pointer into the object, such as `/status/replicas`; what is there is the outcome's `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}
