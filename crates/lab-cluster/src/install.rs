//! Installing the system as `kubectl apply --server-side -f kind/manifests/` does, with images of other names.

use std::time::Duration;

use contract::injection::{AGENT_RUNTIME_IMAGE, CSI_AGENT_IMAGE, with_oss_mounter};
use contract::names::csi_agent::OssMounter;
use contract::names::{INJECTION_CONFIG, RUNTIME_CSI, SYSTEM_NAMESPACE};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::time::Instant;

/// The files of `kind/manifests/`, in the order of their names.
const MANIFESTS: [&str; 14] = [
    include_str!("../../../kind/manifests/00-namespace.yaml"),
    include_str!("../../../kind/manifests/10-agents.kruise.io_checkpoints.yaml"),
    include_str!("../../../kind/manifests/10-agents.kruise.io_commits.yaml"),
    include_str!("../../../kind/manifests/10-agents.kruise.io_sandboxclaims.yaml"),
    include_str!("../../../kind/manifests/10-agents.kruise.io_sandboxes.yaml"),
    include_str!("../../../kind/manifests/10-agents.kruise.io_sandboxsets.yaml"),
    include_str!("../../../kind/manifests/10-agents.kruise.io_sandboxtemplates.yaml"),
    include_str!("../../../kind/manifests/10-agents.kruise.io_sandboxupdateops.yaml"),
    include_str!("../../../kind/manifests/10-agents.kruise.io_trafficpolicies.yaml"),
    include_str!("../../../kind/manifests/20-rbac.yaml"),
    include_str!("../../../kind/manifests/30-sandbox-injection-config.yaml"),
    include_str!("../../../kind/manifests/35-admission-policies.yaml"),
    include_str!("../../../kind/manifests/40-controller.yaml"),
    include_str!("../../../kind/manifests/50-manager.yaml"),
];
/// The image of controller and manager in the manifests.
pub const SYSTEM_IMAGE: &str = concat!("mountlab/mountlab:v", env!("CARGO_PKG_VERSION"));
/// The Deployments that have to be available.
const DEPLOYMENTS: [&str; 2] = ["sandbox-controller-manager", "sandbox-manager"];
/// Secret with the operator's key, and its member.
const KEY_SECRET: (&str, &str) = ("sandbox-manager", "admin-key");
/// Our name as an owner of fields.
const FIELD_MANAGER: &str = "mountlab-install";
/// How often it is looked whether the Deployments are available.
const PAUSE: Duration = Duration::from_millis(200);

/// The images of an installation, as the nodes know them.
#[derive(Clone, Debug)]
pub struct SystemImages {
    /// Of controller and manager.
    pub system: String,
    /// Of the sidecar that injects the in-sandbox agent.
    pub agent_runtime: String,
    /// Of the CSI agent.
    pub csi_agent: String,
}

/// Why the system isn't installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A manifest can't be read: a defect of this program.
    #[error("a manifest of the system can't be read: {0}")]
    Manifest(String),
    /// The API server refused an object.
    #[error("{action} failed")]
    Api {
        /// What was tried.
        action: String,
        /// Why it failed.
        #[source]
        source: kube::Error,
    },
    /// The components didn't come up.
    #[error("deadline of the system's start ({limit:?}) passed; last state: {last}")]
    Deadline {
        /// Its length.
        limit: Duration,
        /// What was seen last.
        last: String,
    },
}

/// Installs the system, or brings what is there to this version; waits until it is available. OSS volumes of pods that are made
/// from then on are mounted by `oss_mounter`. `more` are manifests of the caller. Returns the operator's API key, which is made at the first time.
///
/// # Errors
/// [`InstallError`] naming the object, or the component that doesn't come up and what it last said.
pub async fn install(
    client: &Client,
    images: &SystemImages,
    oss_mounter: OssMounter,
    more: &[&str],
    limit: Duration,
) -> Result<String, InstallError> {
    let mut key = None;
    for manifest in MANIFESTS.iter().chain(more) {
        for object in objects(manifest, images, oss_mounter)? {
            apply(client, &object).await?;
        }
        if key.is_none() {
            // The namespace is there now, and no manager yet that would start without a key.
            key = Some(operator_key(client).await?);
        }
    }
    await_deployments(client, limit).await?;
    Ok(key.unwrap_or_default())
}

/// The objects of `manifest`, with these images and this mounter.
fn objects(
    manifest: &str,
    images: &SystemImages,
    oss_mounter: OssMounter,
) -> Result<Vec<Value>, InstallError> {
    let text = manifest
        .replace(SYSTEM_IMAGE, &images.system)
        .replace(AGENT_RUNTIME_IMAGE, &images.agent_runtime)
        .replace(CSI_AGENT_IMAGE, &images.csi_agent);
    let mut objects: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| InstallError::Manifest(error.to_string()))?;
    for object in objects.iter_mut().filter(|object| object["metadata"]["name"] == INJECTION_CONFIG) {
        if let Some(Value::String(entry)) = object.pointer_mut(&format!("/data/{RUNTIME_CSI}")) {
            *entry = with_oss_mounter(entry, oss_mounter)
                .map_err(|error| InstallError::Manifest(error.to_string()))?;
        }
    }
    Ok(objects)
}

async fn apply(client: &Client, object: &Value) -> Result<(), InstallError> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("/kind")));
    let api: Api<DynamicObject> = match text("/metadata/namespace") {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let name = text("/metadata/name");
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let applied = api.patch(name, &parameters, &Patch::Apply(object)).await;
    let action = format!("applying {} {name}", text("/kind"));
    applied.map(drop).map_err(|source| InstallError::Api { action, source })
}

/// The operator's key, made if there is none.
async fn operator_key(client: &Client) -> Result<String, InstallError> {
    let (name, member) = KEY_SECRET;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let failed = |action: &str| {
        let action = format!("{action} Secret {SYSTEM_NAMESPACE}/{name}");
        move |source| InstallError::Api { action, source }
    };
    let found = secrets.get_opt(name).await.map_err(failed("reading"))?;
    let key = found.and_then(|secret| secret.data).and_then(|data| data.get(member).cloned());
    if let Some(key) = key.and_then(|key| String::from_utf8(key.0).ok()).filter(|key| !key.is_empty()) {
        return Ok(key);
    }
    let key = format!("mountlab-{}", uuid::Uuid::new_v4().simple());
    let secret = Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some([(member.to_owned(), ByteString(key.clone().into_bytes()))].into()),
        ..Secret::default()
    };
    secrets.create(&PostParams::default(), &secret).await.map_err(failed("making"))?;
    Ok(key)
}

async fn await_deployments(client: &Client, limit: Duration) -> Result<(), InstallError> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let end = Instant::now() + limit;
    for name in DEPLOYMENTS {
        loop {
            let found = deployments.get(name).await.map_err(|source| InstallError::Api {
                action: format!("reading Deployment {name}"),
                source,
            })?;
            let Some(last) = unavailable(&found) else { break };
            if Instant::now() >= end {
                return Err(InstallError::Deadline { limit, last });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// What a Deployment still lacks.
pub(crate) fn unavailable(deployment: &Deployment) -> Option<String> {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let is_current = status.observed_generation >= deployment.metadata.generation;
    let (updated, available) = (status.updated_replicas.unwrap_or(0), status.available_replicas.unwrap_or(0));
    let all = status.replicas.unwrap_or(0);
    if is_current && updated == wanted && available == wanted && all == wanted {
        return None;
    }
    let said = status.conditions.into_iter().flatten().filter_map(|condition| condition.message);
    Some(format!(
        "Deployment {} has {available} of {wanted} replicas available, {updated} of this version: {}",
        deployment.name_any(),
        said.collect::<Vec<_>>().join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use contract::names::csi_agent::OSS_MOUNTER_VARIABLE;

    use super::*;

    fn all(oss_mounter: OssMounter) -> Vec<Value> {
        let images = SystemImages {
            system: "registry.example/system:1".into(),
            agent_runtime: "registry.example/agent:1".into(),
            csi_agent: "registry.example/csi:1".into(),
        };
        MANIFESTS
            .iter()
            .flat_map(|manifest| objects(manifest, &images, oss_mounter).expect("readable"))
            .collect()
    }

    /// The environment of the CSI agent that the objects inject.
    fn agent_environment(objects: &[Value]) -> Value {
        let config = objects.iter().find(|object| object["metadata"]["name"] == INJECTION_CONFIG);
        let entry = config.expect("a ConfigMap")["data"][RUNTIME_CSI].as_str().expect("text").to_owned();
        let entry: Value = serde_json::from_str(&entry).expect("JSON");
        assert_eq!(entry["csiSidecar"][0]["image"], "registry.example/csi:1");
        entry["csiSidecar"][0]["env"].clone()
    }

    #[test]
    fn the_mounter_is_told_to_the_csi_agent_and_to_nobody_else() {
        let (plain, told) = (all(OssMounter::BuiltIn), all(OssMounter::S3fs));
        let environment = agent_environment(&told);
        let variable = serde_json::json!({"name": OSS_MOUNTER_VARIABLE, "value": "s3fs"});
        assert!(environment.as_array().expect("a list").contains(&variable), "{environment}");
        assert!(!agent_environment(&plain).to_string().contains(OSS_MOUNTER_VARIABLE));
        let others = |objects: Vec<Value>| -> Vec<Value> {
            objects.into_iter().filter(|object| object["metadata"]["name"] != INJECTION_CONFIG).collect()
        };
        assert_eq!(others(plain), others(told));
    }
}
