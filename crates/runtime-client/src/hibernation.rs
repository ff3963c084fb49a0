//! Whether a sandbox's storage lets it hibernate, with the volumes as they are now.

use contract::crd::Sandbox;
use contract::errors::Problem;
use contract::hibernation::{self, Verdict};
use contract::intents;
use contract::names::annotations;
use futures::future::try_join_all;
use kube::{Client, ResourceExt as _};

use crate::volumes::volume_of;

/// The verdict about everything that `sandbox` has mounted. Volumes are read live; nothing is read for a sandbox
/// without mounts.
///
/// # Errors
/// [`Code::ClusterUnavailable`](contract::errors::Code) when the API server can't be asked, which is no verdict.
pub async fn may_hibernate(client: &Client, sandbox: &Sandbox) -> Result<Verdict, Problem> {
    let list = sandbox.annotations().get(annotations::CSI_VOLUME_CONFIG).filter(|list| !list.is_empty());
    let Some(list) = list else { return Ok(Verdict::Possible) };
    let intents = match intents::decode_annotation(list) {
        Ok(intents) => intents,
        Err(problem) => return Ok(hibernation::unreadable(&problem)),
    };
    let mounts = try_join_all(intents.into_iter().map(|intent| async move {
        let volume = volume_of(client, &intent).await?;
        Ok::<_, Problem>((intent, volume))
    }));
    Ok(hibernation::judge(&mounts.await?))
}
