//! From the mounts that a request asks for to requests for the driver, before any sandbox is taken
//! (`storage.md` §2.1).
//!
//! Volumes and Secrets are read live: one that was created a moment ago works at once. The reads of all
//! mounts run together; what is told is the first mount's first problem, in the order of the request.

use contract::crd::CsiMountConfig;
use contract::errors::Problem;
use contract::resolve::{self, DriverList, ResolvedMount};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{PersistentVolume, Secret};
use kube::{Api, Client};

use crate::kubernetes::kubernetes_problem;

/// Volume and Secret of one mount, as far as they exist.
struct Read {
    volume: Option<PersistentVolume>,
    secret: Option<Secret>,
}

/// Resolves every mount with the volumes and Secrets as they are now.
///
/// # Errors
/// What the user or the operator has to correct (HTTP 400), or [`Code::ClusterUnavailable`](contract::errors::Code)
/// when the API server can't be asked.
pub async fn resolve_mounts(
    client: &Client,
    drivers: &DriverList,
    intents: &[CsiMountConfig],
) -> Result<Vec<ResolvedMount>, Problem> {
    let read = try_join_all(intents.iter().map(|intent| read(client, intent))).await?;
    let mut mounts = Vec::with_capacity(intents.len());
    for (intent, Read { volume, secret }) in intents.iter().zip(read) {
        let name = resolve::volume_name(intent)?;
        let volume = volume.ok_or_else(|| resolve::volume_not_found(name))?;
        let suffix = resolve::suffix_from(rand::random());
        mounts.push(resolve::resolve(intent, &volume, secret.as_ref(), drivers, &suffix)?);
    }
    Ok(mounts)
}

/// The volume of one mount, if it exists.
pub(crate) async fn volume_of(
    client: &Client,
    intent: &CsiMountConfig,
) -> Result<Option<PersistentVolume>, Problem> {
    let Ok(name) = resolve::volume_name(intent) else { return Ok(None) };
    if !is_object_name(name) {
        return Ok(None);
    }
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let action = format!("get persistent volume object by name {name}");
    volumes.get_opt(name).await.map_err(|error| kubernetes_problem(&action, &error))
}

async fn read(client: &Client, intent: &CsiMountConfig) -> Result<Read, Problem> {
    let volume = volume_of(client, intent).await?;
    // a reference into another namespace is an error that `resolve` reports; its Secret is never read
    let reference = volume.as_ref().and_then(|volume| resolve::secret_reference(volume).ok().flatten());
    let Some(reference) = reference.filter(|reference| is_object_name(&reference.name)) else {
        return Ok(Read { volume, secret: None });
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &reference.namespace);
    let action = format!("get secret object {}/{}", reference.namespace, reference.name);
    let secret =
        secrets.get_opt(&reference.name).await.map_err(|error| kubernetes_problem(&action, &error))?;
    Ok(Read { volume, secret })
}

/// Whether an object can have that name at all; others are not looked up, they could not even form a path.
fn is_object_name(name: &str) -> bool {
    contract::extensions::is_dns_subdomain(name)
}
