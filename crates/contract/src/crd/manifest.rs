//! The definitions as objects and as files.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::json;

use super::schema::{polish, with_status_default};

/// One YAML file of `kind/manifests/`, where `kubectl apply -f` takes the files in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// File name, such as `10-agents.kruise.io_sandboxes.yaml`.
    pub file_name: String,
    /// The whole text.
    pub yaml: String,
}

/// Every definition this project installs, in the order of `kubernetes.md` §1.0.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        polish(super::Sandbox::crd(), true),
        polish(super::SandboxSet::crd(), true),
        polish(super::SandboxClaim::crd(), true),
        polish(super::SandboxTemplate::crd(), true),
        polish(super::Checkpoint::crd(), true),
        polish(super::SandboxUpdateOps::crd(), true),
        with_status_default(polish(super::Commit::crd(), true), &json!({"phase": "Pending"})),
        polish(super::TrafficPolicy::crd(), false),
    ]
}

/// The definitions as YAML files.
///
/// # Errors
/// When a definition cannot be written as YAML, which would be a defect of the types here.
pub fn manifests() -> Result<Vec<Manifest>, serde_saphyr::ser::Error> {
    all()
        .iter()
        .map(|definition| {
            let file_name = format!("10-{}_{}.yaml", definition.spec.group, definition.spec.names.plural);
            let body = serde_saphyr::to_string(definition)?;
            Ok(Manifest {
                file_name,
                yaml: format!("# Generated from crates/contract/src/crd; do not edit.\n{body}"),
            })
        })
        .collect()
}
