//! Installing the default injection configuration.

use contract::injection::default_config_map_for;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::Error;
use crate::api::{has_code, parameters};

/// Creates ConfigMap `sandbox-injection-config` in `namespace`, and the namespace, if they are absent. An edited
/// ConfigMap is left alone (decision D-12).
pub(crate) async fn injection_config(client: &Client, namespace: &str) -> Result<(), Error> {
    let failed = |source| Error::Install { namespace: namespace.to_owned(), source };
    if create_config_map(client, namespace).await.map_err(failed)? {
        return Ok(());
    }
    create_namespace(client, namespace).await.map_err(failed)?;
    if create_config_map(client, namespace).await.map_err(failed)? {
        return Ok(());
    }
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let created = config_maps.create(&parameters(), &default_config_map_for(namespace)).await;
    created.map(|_| ()).map_err(failed)
}

/// Whether the ConfigMap is there now; not when its namespace is missing.
async fn create_config_map(client: &Client, namespace: &str) -> kube::Result<bool> {
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match config_maps.create(&parameters(), &default_config_map_for(namespace)).await {
        Ok(_) => Ok(true),
        Err(error) if has_code(&error, 409) => Ok(true),
        Err(error) if has_code(&error, 404) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn create_namespace(client: &Client, name: &str) -> kube::Result<()> {
    let namespace = Namespace {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    match Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await {
        Ok(_) => Ok(()),
        Err(error) if has_code(&error, 409) => Ok(()),
        Err(error) => Err(error),
    }
}
