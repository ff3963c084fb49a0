//! Types that several kinds share (`kubernetes.md` §1.0, common types).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One name of a runtime to inject into the pod (`kubernetes.md` §4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuntimeConfig {
    /// Key in ConfigMap sandbox-injection-config, such as `csi` or `agent-runtime`.
    pub name: String,
}

impl RuntimeConfig {
    /// A runtime of that name.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}

/// How a sandbox is to be paused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseStrategy {
    /// Stop ends the pod; Hibernate keeps a snapshot.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<PauseStrategyType>,
    /// Details of Hibernate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hibernate_strategy: Option<HibernateStrategy>,
}

/// The two ways of pausing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PauseStrategyType {
    /// The pod is deleted.
    Stop,
    /// The pod is deleted after a snapshot.
    Hibernate,
}

/// Details of a hibernating pause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HibernateStrategy {
    /// Free text; only `Snapshot` is known.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// A command run in the sandbox around an upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeAction {
    /// The command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// Limit of the command in seconds.
    #[serde(default = "sixty", skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i32>,
}

#[allow(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
fn sixty() -> Option<i32> {
    Some(60)
}

/// A command line without a shell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecAction {
    /// Program and arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub command: Vec<String>,
}

/// Hooks of a replacing upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// Run before the old pod goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_upgrade: Option<UpgradeAction>,
    /// Run in the new pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_upgrade: Option<UpgradeAction>,
}

/// One volume to mount at run time: the element of the persisted mount list and of a claim's list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CsiMountConfig {
    /// Identifier for an enterprise hook; ignored when mounting.
    #[serde(rename = "mountID", default, skip_serializing_if = "String::is_empty")]
    pub mount_id: String,
    /// Name of the PersistentVolume object.
    pub pv_name: String,
    /// Mount path within the container: absolute and clean.
    pub mount_path: String,
    /// Subdirectory (relative path) within the remote storage; empty leaves the volume's own path untouched.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sub_path: String,
    /// Whether to mount read-only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Attributes for an enterprise hook; ignored when mounting.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// Reference to a `SandboxTemplate` of the same namespace. `kind` and `apiVersion` are stored and ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRef {
    /// Name of the `SandboxTemplate`.
    pub name: String,
    /// Stored, not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Stored, not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
}
