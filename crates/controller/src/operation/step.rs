//! What is written into a sandbox, as merge patches of the version that was looked at.

use contract::crd::{Sandbox, SandboxPhase, SandboxUpdateOps, UpdateOpsType, UpgradePolicyType};
use contract::names::{annotations, labels};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::class::phase;
use crate::sandbox::difference;

/// Begins the upgrade. A paused sandbox is only woken yet: it gets its template once it is awake.
pub(super) fn start(operation: &SandboxUpdateOps, sandbox: &Sandbox, template: &Value) -> Value {
    let mut patch = exactly(sandbox);
    let strategy = operation.spec.update_strategy.as_ref().and_then(|strategy| strategy.kind);
    let policy = match strategy {
        None | Some(UpdateOpsType::Recreate) => "Recreate",
        Some(UpdateOpsType::CheckpointRestore) => "CheckpointRestore",
    };
    patch["metadata"]["labels"] =
        json!({labels::UPDATE_OPS: operation.name_any(), labels::UPGRADE_FAILED: null});
    patch["spec"] = json!({"upgradePolicy": {"type": policy}, "lifecycle": operation.spec.lifecycle});
    if phase(sandbox) == SandboxPhase::Paused {
        patch["metadata"]["annotations"] = json!({annotations::UPGRADE_RESUME_TRIGGER: "true"});
    } else {
        set_template(&mut patch, sandbox, template);
        drop_trigger(&mut patch, sandbox);
    }
    patch
}

/// Gives a woken sandbox its template.
pub(super) fn give_template(sandbox: &Sandbox, template: &Value) -> Value {
    let mut patch = exactly(sandbox);
    set_template(&mut patch, sandbox, template);
    drop_trigger(&mut patch, sandbox);
    patch
}

/// Writes down that the upgrade is done: later changes of the template are the user's again.
pub(super) fn settle(sandbox: &Sandbox) -> Value {
    let mut patch = exactly(sandbox);
    patch["metadata"]["labels"] = json!({labels::UPGRADE_FAILED: null});
    patch["spec"] = json!({"upgradePolicy": null});
    patch
}

/// Writes down that the upgrade failed.
pub(super) fn mark_failed(sandbox: &Sandbox) -> Value {
    let mut patch = exactly(sandbox);
    patch["metadata"]["labels"] = json!({labels::UPGRADE_FAILED: "true"});
    patch
}

/// Takes off everything that says that the operation handles the sandbox. An upgrade under way goes on; one that keeps files has
/// its policy still, for they would be lost without.
pub(super) fn release(sandbox: &Sandbox) -> Value {
    let mut patch = settle(sandbox);
    let policy = sandbox.spec.upgrade_policy.as_ref().and_then(|policy| policy.kind);
    if phase(sandbox) == SandboxPhase::Upgrading && policy == Some(UpgradePolicyType::CheckpointRestore) {
        patch["spec"] = json!({});
    }
    patch["metadata"]["labels"][labels::UPDATE_OPS] = Value::Null;
    drop_trigger(&mut patch, sandbox);
    patch
}

fn exactly(sandbox: &Sandbox) -> Value {
    json!({"metadata": {"resourceVersion": sandbox.resource_version()}})
}

fn set_template(patch: &mut Value, sandbox: &Sandbox, template: &Value) {
    let current = sandbox.spec.template.as_ref().unwrap_or(&Value::Null);
    if let Some(change) = difference(current, template) {
        patch["spec"]["template"] = change;
    }
}

fn drop_trigger(patch: &mut Value, sandbox: &Sandbox) {
    if sandbox.annotations().contains_key(annotations::UPGRADE_RESUME_TRIGGER) {
        patch["metadata"]["annotations"] = json!({annotations::UPGRADE_RESUME_TRIGGER: null});
    }
}
