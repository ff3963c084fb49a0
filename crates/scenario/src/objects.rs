//! Kubernetes objects of any kind, through the lab's API server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Once;

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kube::{Client, Config};
use serde_json::Value;

use crate::model::ObjectReference;

/// Our name as an owner of fields.
const FIELD_MANAGER: &str = "mountlab-scenario";
const OUR_GROUP: &str = "agents.kruise.io/v1alpha1";

/// The API server could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    /// The kubeconfig is not usable.
    #[error("kubeconfig {path} is not usable")]
    Kubeconfig {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The API server refused or didn't answer.
    #[error("{operation} failed")]
    Api {
        operation: String,
        #[source]
        source: kube::Error,
    },
    /// Not an object.
    #[error("{subject} lacks {member}")]
    Incomplete { subject: String, member: &'static str },
}

impl ObjectError {
    /// Status, reason and message, when the API server answered with an error.
    pub(crate) fn refusal(&self) -> Option<(u16, String, String)> {
        match self {
            Self::Api { source: kube::Error::Api(status), .. } => {
                Some((status.code, status.reason.clone(), status.message.clone()))
            }
            _ => None,
        }
    }
}

/// A client for objects of any kind.
pub(crate) struct Objects {
    client: Client,
}

impl Objects {
    pub(crate) async fn connect(kubeconfig: &Path) -> Result<Self, ObjectError> {
        use_ring();
        let unusable = |source: Box<dyn std::error::Error + Send + Sync>| ObjectError::Kubeconfig {
            path: kubeconfig.to_owned(),
            source,
        };
        let parsed = Kubeconfig::read_from(kubeconfig).map_err(|error| unusable(error.into()))?;
        let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
            .await
            .map_err(|error| unusable(error.into()))?;
        config.proxy_url = None;
        let client = Client::try_from(config).map_err(|error| unusable(error.into()))?;
        Ok(Self { client })
    }

    /// Server-side apply; fields of others are taken over.
    pub(crate) async fn apply(&self, object: &Value) -> Result<Value, ObjectError> {
        let reference = reference(object)?;
        let operation = format!("apply {}", describe(&reference));
        let api = self.api(&reference, &operation).await?;
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        answer(&operation, api.patch(&reference.name, &parameters, &Patch::Apply(object)).await)
    }

    pub(crate) async fn merge(
        &self,
        reference: &ObjectReference,
        patch: &Value,
    ) -> Result<Value, ObjectError> {
        let operation = format!("patch {}", describe(reference));
        let api = self.api(reference, &operation).await?;
        answer(&operation, api.patch(&reference.name, &PatchParams::default(), &Patch::Merge(patch)).await)
    }

    pub(crate) async fn get(&self, reference: &ObjectReference) -> Result<Value, ObjectError> {
        let operation = format!("get {}", describe(reference));
        let api = self.api(reference, &operation).await?;
        answer(&operation, api.get(&reference.name).await)
    }

    /// The objects of the reference's kind and namespace that have these labels, by name.
    pub(crate) async fn list(
        &self,
        reference: &ObjectReference,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<Value>, ObjectError> {
        let operation = format!("list {}/{}", reference.kind, reference.namespace);
        let api = self.api(reference, &operation).await?;
        let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let listed = api.list(&ListParams::default().labels(&pairs.join(","))).await;
        let mut listed =
            listed.map_err(|source| ObjectError::Api { operation: operation.clone(), source })?.items;
        listed.sort_by_key(|object| object.metadata.name.clone());
        listed.into_iter().map(|object| answer(&operation, Ok(object))).collect()
    }

    pub(crate) async fn delete(&self, reference: &ObjectReference) -> Result<(), ObjectError> {
        let operation = format!("delete {}", describe(reference));
        let api = self.api(reference, &operation).await?;
        let outcome = api.delete(&reference.name, &DeleteParams::background()).await;
        outcome.map(|_| ()).map_err(|source| ObjectError::Api { operation, source })
    }

    async fn api(
        &self,
        reference: &ObjectReference,
        operation: &str,
    ) -> Result<Api<DynamicObject>, ObjectError> {
        let version = api_version(reference);
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = GroupVersionKind::gvk(group, version, &reference.kind);
        let (resource, is_namespaced) = match well_known(&kind) {
            Some(known) => known,
            None => discovery::pinned_kind(&self.client, &kind)
                .await
                .map(|(resource, capabilities)| (resource, capabilities.scope == Scope::Namespaced))
                .map_err(|source| ObjectError::Api { operation: operation.to_owned(), source })?,
        };
        Ok(if is_namespaced {
            Api::namespaced_with(self.client.clone(), &reference.namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        })
    }
}

/// The resource of a kind that scenarios use all the time, and whether it is namespaced: two requests saved each.
fn well_known(kind: &GroupVersionKind) -> Option<(ApiResource, bool)> {
    let (plural, is_namespaced) = match (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str()) {
        ("", "v1", "Secret") => ("secrets", true),
        ("", "v1", "ConfigMap") => ("configmaps", true),
        ("", "v1", "Pod") => ("pods", true),
        ("", "v1", "PersistentVolume") => ("persistentvolumes", false),
        ("", "v1", "Namespace") => ("namespaces", false),
        ("agents.kruise.io", "v1alpha1", "SandboxSet") => ("sandboxsets", true),
        ("agents.kruise.io", "v1alpha1", "Sandbox") => ("sandboxes", true),
        _ => return None,
    };
    Some((ApiResource::from_gvk_with_plural(kind, plural), is_namespaced))
}

/// More than one TLS library may be linked in; the process uses one.
fn use_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that somebody chose already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn api_version(reference: &ObjectReference) -> &str {
    match (reference.api_version.as_deref(), reference.kind.as_str()) {
        (Some(version), _) => version,
        (
            None,
            "Sandbox" | "SandboxSet" | "SandboxClaim" | "SandboxTemplate" | "Checkpoint" | "SandboxUpdateOps",
        ) => OUR_GROUP,
        (None, _) => "v1",
    }
}

fn reference(object: &Value) -> Result<ObjectReference, ObjectError> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let subject = || format!("{}/{}", text("/kind").unwrap_or("?"), text("/metadata/name").unwrap_or("?"));
    let need = |pointer: &str, member: &'static str| {
        text(pointer).map(str::to_owned).ok_or_else(|| ObjectError::Incomplete { subject: subject(), member })
    };
    Ok(ObjectReference {
        api_version: Some(need("/apiVersion", "apiVersion")?),
        kind: need("/kind", "kind")?,
        name: need("/metadata/name", "metadata.name")?,
        namespace: text("/metadata/namespace").unwrap_or("default").to_owned(),
    })
}

pub(crate) fn describe(reference: &ObjectReference) -> String {
    format!("{}/{}/{}", reference.kind, reference.namespace, reference.name)
}

fn answer(operation: &str, outcome: Result<DynamicObject, kube::Error>) -> Result<Value, ObjectError> {
    let object = outcome.map_err(|source| ObjectError::Api { operation: operation.to_owned(), source })?;
    Ok(serde_json::to_value(object).unwrap_or_default())
}
