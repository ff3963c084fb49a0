//! Taking the mounts of a sandbox back, and knowing that they are gone (`storage.md` §4.5).

use std::time::Duration;

use contract::crd::Sandbox;
use contract::errors::{Code, Problem};
use contract::intents;
use contract::names::{STORAGE_UNMOUNT_API_PATH, annotations};
use contract::resolve::{self, ResolvedMount};
use futures::future::join_all;
use http::{Method, StatusCode};
use kube::{Client, ResourceExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use crate::redaction::Redaction;
use crate::volumes::volume_of;
use crate::{Endpoint, RuntimeClient};

/// Limit of undoing the mounts of a claim that failed.
const UNDO_LIMIT: Duration = Duration::from_secs(5);
/// Limit of one try where it has to be known that the mount is gone.
const TRY_LIMIT: Duration = Duration::from_secs(10);
/// How often it is tried then, and the wait in between (`storage.md` §7.5).
const TRIES: u32 = 3;
const WAIT: Duration = Duration::from_secs(1);

/// What becomes of the links that lead to what is unmounted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Links {
    /// They go.
    Remove,
    /// They stay, for the mounts come back: until then nothing can be made in their places that would get lost.
    Keep,
}

/// One mount to take back.
#[derive(Debug)]
struct Unmount<'a> {
    driver: &'a str,
    volume_id: &'a str,
    path: &'a str,
    links: Links,
}

/// How one call went wrong.
#[derive(Debug)]
struct Refused {
    /// Whether another try may help.
    is_transient: bool,
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UnmountAnswer {
    success: bool,
    message: String,
}

impl RuntimeClient {
    /// Takes back what a failed claim may have mounted, as far as the runtime can still do it.
    pub async fn unmount_all(&self, endpoint: &Endpoint, token: Option<&str>, mounts: &[ResolvedMount]) {
        let calls = mounts.iter().map(|mount| async move {
            let unmount = Unmount {
                driver: &mount.driver,
                volume_id: &mount.request.volume_id,
                path: &mount.request.target_path,
                links: Links::Remove,
            };
            if let Err(refused) = self.unmount(endpoint, token, &unmount, UNDO_LIMIT).await {
                tracing::warn!(reason = refused.reason, path = %mount.mount_path, "unmount failed");
            }
        });
        join_all(calls).await;
    }

    /// Unmounts everything that `sandbox` has mounted according to its annotation. All are tried.
    ///
    /// # Errors
    /// A [`Code::MountFailed`] that names every mount of which it isn't known that it is gone, without secrets.
    pub async fn unmount_persisted(
        &self,
        client: &Client,
        sandbox: &Sandbox,
        links: Links,
    ) -> Result<(), Problem> {
        let note =
            |key: &str| sandbox.annotations().get(key).map(String::as_str).filter(|text| !text.is_empty());
        let Some(list) = note(annotations::CSI_VOLUME_CONFIG) else { return Ok(()) };
        let intents = intents::decode_annotation(list)?;
        if intents.is_empty() {
            return Ok(());
        }
        let endpoint = self.endpoint(sandbox)?;
        let token = note(annotations::RUNTIME_ACCESS_TOKEN).or_else(|| note(annotations::ENVD_ACCESS_TOKEN));
        let (endpoint, redaction) = (&endpoint, &Redaction::of(&[], token));
        let outcomes = join_all(intents.iter().map(|intent| async move {
            let path = intent.mount_path.as_str();
            let volume = volume_of(client, intent).await?;
            let driver =
                volume.as_ref().and_then(|volume| Some(volume.spec.as_ref()?.csi.as_ref()?.driver.as_str()));
            let name = resolve::volume_name(intent)?;
            let Some(driver) = driver else {
                let message = format!(
                    "{path}: PersistentVolume {name} is gone, so its driver can't be told to unmount"
                );
                return Err(Problem::new(Code::MountFailed, message));
            };
            let volume_id = format!("{name}-{}", resolve::suffix_from(rand::random()));
            let unmount = Unmount { driver, volume_id: &volume_id, path, links };
            let outcome = self.unmount_surely(endpoint, token, &unmount).await;
            outcome.map_err(|refused| {
                let reason = redaction.clean(&refused.reason);
                Problem::new(Code::MountFailed, format!("{path}: driver {driver}: {reason}"))
            })
        }))
        .await;
        let failed: Vec<_> =
            outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(Problem::message).collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Code::MountFailed, format!("failed to unmount {}", failed.join("; "))))
    }

    async fn unmount_surely(
        &self,
        endpoint: &Endpoint,
        token: Option<&str>,
        unmount: &Unmount<'_>,
    ) -> Result<(), Refused> {
        let mut tried = 1;
        loop {
            match self.unmount(endpoint, token, unmount, TRY_LIMIT).await {
                Err(refused) if refused.is_transient && tried < TRIES => tried += 1,
                outcome => return outcome,
            }
            sleep(WAIT).await;
        }
    }

    async fn unmount(
        &self,
        endpoint: &Endpoint,
        token: Option<&str>,
        unmount: &Unmount<'_>,
        limit: Duration,
    ) -> Result<(), Refused> {
        let request = json!({"volumeId": unmount.volume_id, "targetPath": unmount.path});
        let mut body = json!({"driver": unmount.driver, "unpublishRequest": request});
        if unmount.links == Links::Keep {
            body["keepLink"] = true.into();
        }
        let body = body.to_string().into_bytes();
        let call = self.call(Method::POST, endpoint, STORAGE_UNMOUNT_API_PATH, token, body, limit);
        let answer = call.await.map_err(|error| Refused { is_transient: true, reason: error.to_string() })?;
        let told: UnmountAnswer = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status.is_success() && told.success {
            return Ok(());
        }
        let is_transient = answer.status.is_server_error();
        let reason = match answer.status {
            StatusCode::OK => told.message,
            status => format!("the runtime answered {status}: {}", told.message),
        };
        Err(Refused { is_transient, reason })
    }
}
