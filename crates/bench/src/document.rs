//! The product document's objects, filled in for a lab.

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::discovery::Discovery;
use lab::{Access, ObjectStore};
use serde_json::Value;

use crate::BenchError;

/// The bucket that the benchmark's volume is in.
pub(crate) const BUCKET: &str = "bench-bucket";

/// The SandboxSet, Secret and PersistentVolume as written in the product document.
const DOCUMENTS: [&str; 3] = [
    include_str!("../../../fixtures/code-interpreter-inject-test.yaml"),
    include_str!("../../../fixtures/oss-secret.yaml"),
    include_str!("../../../fixtures/oss-pv-sandbox-system.yaml"),
];

/// A client for the lab's API server.
pub(crate) async fn client(access: &Access) -> Result<Client, BenchError> {
    let action = "read the lab's kubeconfig";
    let options = kube::config::KubeConfigOptions::default();
    let kubeconfig = kube::config::Kubeconfig::read_from(&access.kubeconfig).map_err(kubernetes(action))?;
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(kubernetes(action))?;
    Client::try_from(config).map_err(kubernetes(action))
}

/// Applies the document's objects.
pub(crate) async fn apply(client: &Client, store: &ObjectStore) -> Result<(), BenchError> {
    let failed = kubernetes("read what the API server offers");
    let discovery = Discovery::new(client.clone()).run().await.map_err(&failed)?;
    for document in DOCUMENTS {
        for object in serde_saphyr::from_multiple::<Value>(&fill_in(document, store))
            .map_err(kubernetes("read a document"))?
        {
            let object: DynamicObject =
                serde_json::from_value(object).map_err(kubernetes("read a document"))?;
            apply_one(client, &discovery, &object).await?;
        }
    }
    Ok(())
}

fn fill_in(document: &str, store: &ObjectStore) -> String {
    document
        .replace("<YOUR_ACCESS_KEY_ID>", &store.access_key_id)
        .replace("<YOUR_ACCESS_KEY_SECRET>", &store.access_key_secret)
        .replace("<OSS_BUCKET>", BUCKET)
        .replace("<OSS_ENDPOINT>", &store.inside_endpoint)
}

async fn apply_one(client: &Client, discovery: &Discovery, object: &DynamicObject) -> Result<(), BenchError> {
    let missing = || BenchError::Kubernetes {
        action: "find an object's kind",
        source: format!("{:?} is not served", object.types).into(),
    };
    let types = object.types.as_ref().ok_or_else(missing)?;
    let group_version_kind =
        kube::core::GroupVersionKind::try_from(types).map_err(kubernetes("read an object's kind"))?;
    let (resource, capabilities) = discovery.resolve_gvk(&group_version_kind).ok_or_else(missing)?;
    let api: Api<DynamicObject> = match (&capabilities.scope, &object.metadata.namespace) {
        (kube::discovery::Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        (kube::discovery::Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
        (kube::discovery::Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    };
    let name = object.metadata.name.clone().unwrap_or_default();
    let parameters = PatchParams::apply("mountlab-bench").force();
    api.patch(&name, &parameters, &Patch::Apply(object)).await.map_err(kubernetes("apply an object"))?;
    Ok(())
}

/// Names the call that failed.
pub(crate) fn kubernetes<E: std::error::Error + Send + Sync + 'static>(
    action: &'static str,
) -> impl Fn(E) -> BenchError {
    move |source| BenchError::Kubernetes { action, source: Box::new(source) }
}
