//! Taking a member out of the pool in two writes (`kubernetes.md` §3.4).

use contract::crd::{Sandbox, SandboxSet};
use contract::names::{SCALE_DOWN_OWNER, annotations};
use kube::ResourceExt as _;
use kube::api::Patch;
use serde_json::json;

use crate::api::{Context, delete_exactly, has_code, patch_parameters};
use crate::dispatch::Failure;

/// Locks the version of `sandbox` that was seen, then deletes it. A conflict means that it was claimed meanwhile: it
/// is left alone.
pub(super) async fn lock_and_delete(
    context: &Context,
    set: &SandboxSet,
    sandbox: &Sandbox,
) -> Result<(), Failure> {
    let name = sandbox.name_any();
    if let Some(owner) = foreign_lock(sandbox) {
        return Err(Failure::Locked { name, owner });
    }
    let patch = json!({"metadata": {
        "resourceVersion": sandbox.resource_version(),
        "annotations": {
            annotations::LOCK: uuid::Uuid::new_v4().to_string(),
            annotations::OWNER: SCALE_DOWN_OWNER,
        },
    }});
    let sandboxes = context.namespaced::<Sandbox>(&sandbox.namespace().unwrap_or_default());
    match sandboxes.patch(&name, &patch_parameters(), &Patch::Merge(&patch)).await {
        Ok(locked) => context.world.wrote_sandbox(locked),
        Err(error) if has_code(&error, 404) => return Ok(()),
        Err(error) if has_code(&error, 409) => {
            return Err(Failure::Locked { name, owner: "somebody else".to_owned() });
        }
        Err(source) => {
            return Err(Failure::Api { action: "lock", object: format!("sandbox {name}"), source });
        }
    }
    delete(context, set, sandbox).await
}

/// Deletes a member; somebody else's delete counts as well.
pub(super) async fn delete(context: &Context, set: &SandboxSet, sandbox: &Sandbox) -> Result<(), Failure> {
    let (set_uid, uid, name) =
        (set.uid().unwrap_or_default(), sandbox.uid().unwrap_or_default(), sandbox.name_any());
    let sandboxes = context.namespaced::<Sandbox>(&sandbox.namespace().unwrap_or_default());
    context.world.expectations.expect_deletion(&set_uid, &uid, context.now());
    match sandboxes.delete(&name, &delete_exactly(&uid)).await {
        Ok(_) => Ok(()),
        Err(error) => {
            context.world.expectations.deleted(&uid);
            if has_code(&error, 404) || has_code(&error, 409) {
                return Ok(());
            }
            Err(Failure::Api { action: "delete", object: format!("sandbox {name}"), source: error })
        }
    }
}

/// Who holds the lock, unless nobody does or an earlier scale-down of ours did.
fn foreign_lock(sandbox: &Sandbox) -> Option<String> {
    let locked = sandbox.annotations().get(annotations::LOCK).is_some_and(|lock| !lock.is_empty());
    let owner = sandbox.annotations().get(annotations::OWNER).map_or("nobody named", String::as_str);
    (locked && owner != SCALE_DOWN_OWNER).then(|| owner.to_owned())
}
