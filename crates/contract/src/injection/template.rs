//! One value of the ConfigMap (`kubernetes.md` §4.1).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Volume};
use serde::Deserialize;

/// What one runtime adds to a pod. Unknown members are ignored, there and inside containers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeTemplate {
    /// Additions to the main container: env, volume mounts and, for agent-runtime, the postStart hook.
    #[serde(deserialize_with = "or_default")]
    pub main_container: Option<Container>,
    /// Sidecars; named so for agent-runtime too.
    #[serde(deserialize_with = "or_default")]
    pub csi_sidecar: Vec<Container>,
    /// Pod volumes; the key is singular.
    #[serde(deserialize_with = "or_default")]
    pub volume: Vec<Volume>,
    /// Pod labels, for generic runtimes.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Pod annotations, for generic runtimes.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// Init containers, for generic runtimes.
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
    /// Containers, for generic runtimes.
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container>,
}

/// Reads null as the default, as Go does.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
