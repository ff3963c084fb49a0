//! From the mounts that a request asks for to requests for the driver, before any sandbox is taken
//! (`storage.md` §2.1).
//!
//! Volumes and Secrets are read live: one that was created a moment ago works at once. The reads of all
//! mounts run together; what is told is the first mount's first problem, in the order of the request.

use contract::crd::CsiMountConfig;
use contract::resolve::{self, ResolvedMount};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{PersistentVolume, Secret};
use kube::Api;

use crate::error::ApiError;
use crate::manager::Manager;

/// Volume and Secret of one mount, as far as they exist.
struct Read {
    volume: Option<PersistentVolume>,
    secret: Option<Secret>,
}

impl Manager {
    /// Resolves every mount.
    ///
    /// # Errors
    /// 400 for what the user or the operator has to correct, 503 when the API server can't be asked.
    pub(crate) async fn resolve_mounts(
        &self,
        intents: &[CsiMountConfig],
    ) -> Result<Vec<ResolvedMount>, ApiError> {
        let read = try_join_all(intents.iter().map(|intent| self.read(intent))).await?;
        let mut mounts = Vec::with_capacity(intents.len());
        for (intent, Read { volume, secret }) in intents.iter().zip(read) {
            let name = resolve::volume_name(intent)?;
            let volume = volume.ok_or_else(|| resolve::volume_not_found(name))?;
            let suffix = resolve::suffix_from(rand::random());
            let drivers = &self.shared.options.drivers;
            mounts.push(resolve::resolve(intent, &volume, secret.as_ref(), drivers, &suffix)?);
        }
        self.conceal(&mounts);
        Ok(mounts)
    }

    async fn read(&self, intent: &CsiMountConfig) -> Result<Read, ApiError> {
        let client = &self.shared.options.client;
        let nothing = Read { volume: None, secret: None };
        let Ok(name) = resolve::volume_name(intent) else { return Ok(nothing) };
        if !is_object_name(name) {
            return Ok(nothing);
        }
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        let action = format!("get persistent volume object by name {name}");
        let volume = volumes.get_opt(name).await.map_err(|error| ApiError::kubernetes(&action, &error))?;
        // a reference into another namespace is an error that `resolve` reports; its Secret is never read
        let reference = volume.as_ref().and_then(|volume| resolve::secret_reference(volume).ok().flatten());
        let Some(reference) = reference.filter(|reference| is_object_name(&reference.name)) else {
            return Ok(Read { volume, secret: None });
        };
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &reference.namespace);
        let action = format!("get secret object {}/{}", reference.namespace, reference.name);
        let secret =
            secrets.get_opt(&reference.name).await.map_err(|error| ApiError::kubernetes(&action, &error))?;
        Ok(Read { volume, secret })
    }

    /// Keeps the values of the mounts' Secrets out of the journal from now on.
    fn conceal(&self, mounts: &[ResolvedMount]) {
        if let Some(journal) = &self.shared.options.journal {
            for secret in mounts.iter().flat_map(|mount| mount.request.secrets.values()) {
                journal.conceal(secret);
            }
        }
    }
}

/// Whether an object can have that name at all; others are not looked up, they could not even form a path.
fn is_object_name(name: &str) -> bool {
    contract::extensions::is_dns_subdomain(name)
}
