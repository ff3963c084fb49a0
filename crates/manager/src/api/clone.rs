//! What a create from a snapshot is made from (`kubernetes.md` §6, DECISIONS 6).

use std::sync::Arc;

use claim::{CloneName, Origin};
use contract::checkpoint;
use contract::crd::{Checkpoint, SandboxSet, SandboxSetSpec, SandboxTemplate};
use contract::errors::Code;
use contract::extensions::Extensions;
use contract::names::{annotations, metadata_keys};
use kube::{Api, ResourceExt as _};

use crate::error::ApiError;
use crate::manager::Manager;

/// A set that says what the snapshot's template says, and where its sandbox comes from. Neither mounts nor tokens nor
/// environment of the snapshot's sandbox are among it.
///
/// # Errors
/// 400 for an image, 500 when the snapshot's template is gone.
pub(super) async fn of(
    manager: &Manager,
    snapshot: &Checkpoint,
    extensions: &Extensions,
) -> Result<(Arc<SandboxSet>, Origin), ApiError> {
    let id = checkpoint::id(snapshot);
    if extensions.image.is_some() {
        let key = metadata_keys::IMAGE;
        let message = format!("Bad extension param: {key} is for templates, and {id:?} is a snapshot");
        return Err(ApiError::bad_request(message));
    }
    if snapshot.annotations().contains_key(annotations::CSI_VOLUME_CONFIG) {
        tracing::warn!(
            snapshot = id,
            "its list of mounts is ignored: storage is never restored from a snapshot"
        );
    }
    let template = companion(manager, snapshot).await?.ok_or_else(|| {
        let message = format!(
            "snapshot {id:?} cannot be used: its SandboxTemplate {} is gone; delete it and take another one",
            snapshot.name_any()
        );
        ApiError::new(Code::CheckpointFailed, message)
    })?;
    let spec = SandboxSetSpec {
        template: template.spec.template.clone(),
        runtimes: template.spec.runtimes.clone(),
        volume_claim_templates: template.spec.volume_claim_templates.clone(),
        persistent_contents: template.spec.persistent_contents.clone(),
        ..SandboxSetSpec::default()
    };
    let mut set = SandboxSet::new(&template.name_any(), spec);
    set.metadata.namespace = snapshot.namespace();
    let name = match (&extensions.sandbox_name, &extensions.sandbox_generate_name) {
        (Some(name), _) => CloneName::Exactly(name.clone()),
        (None, Some(prefix)) => CloneName::Prefixed(prefix.clone()),
        (None, None) => CloneName::OfCheckpoint,
    };
    Ok((Arc::new(set), Origin { checkpoint: id, name }))
}

/// The `SandboxTemplate` of the snapshot's name that belongs to it; asked for where the watch doesn't know it yet.
async fn companion(
    manager: &Manager,
    snapshot: &Checkpoint,
) -> Result<Option<Arc<SandboxTemplate>>, ApiError> {
    let (namespace, name) = (snapshot.namespace().unwrap_or_default(), snapshot.name_any());
    let known = if let Some(known) = manager.shared.templates.get(&namespace, &name) {
        Some(known)
    } else {
        let api: Api<SandboxTemplate> = Api::namespaced(manager.shared.options.client.clone(), &namespace);
        let found = api.get_opt(&name).await;
        found.map_err(|error| ApiError::kubernetes("read a snapshot's template", &error))?.map(Arc::new)
    };
    let uid = snapshot.uid().unwrap_or_default();
    Ok(known.filter(|template| template.owner_references().iter().any(|owner| owner.uid == uid)))
}
