//! The operation's patch on a pod template.

use contract::crd::template::pod_template;
use contract::crd::{Sandbox, SandboxUpdateOps, UpdateOpsType};
use serde_json::Value;

/// The template of `sandbox` with the operation's patch; an error says why it can't be had.
pub(super) fn patched(operation: &SandboxUpdateOps, sandbox: &Sandbox) -> Result<Value, String> {
    let Some(template) = &sandbox.spec.template else {
        let of =
            sandbox.spec.template_ref.as_ref().map(|reference| reference.name.clone()).unwrap_or_default();
        return Err(format!(
            "it has no pod template of its own that could be patched: templateRef names SandboxTemplate {of:?}"
        ));
    };
    let mut patched = template.clone();
    let Some(patch) = &operation.spec.patch else { return Ok(patched) };
    strategic_merge::merge(&mut patched, &without_null_containers(patch))
        .map_err(|error| format!("spec.patch can't be applied: {error}"))?;
    let pod = pod_template(&patched).map_err(|problem| format!("after spec.patch {}", problem.message()))?;
    if pod.spec.is_none_or(|spec| spec.containers.is_empty()) {
        return Err("spec.patch leaves no container".to_owned());
    }
    Ok(patched)
}

/// What is wrong with the operation whatever its sandboxes are (`kubernetes.md` §8; the pieces that no schema can see).
pub(super) fn flaw(operation: &SandboxUpdateOps) -> Option<String> {
    let strategy = operation.spec.update_strategy.as_ref().and_then(|strategy| strategy.kind);
    let patch = operation.spec.patch.as_ref()?;
    let lists = ["containers", "initContainers"].into_iter();
    let mut containers =
        lists.filter_map(|list| patch.pointer(&format!("/spec/{list}"))?.as_array()).flatten();
    if strategy == Some(UpdateOpsType::CheckpointRestore) && containers.any(|it| it.get("image").is_some()) {
        return Some(
            "spec.patch: with updateStrategy.type CheckpointRestore it may not change images: use Recreate"
                .to_owned(),
        );
    }
    None
}

/// An entry that would take all containers away is dropped.
fn without_null_containers(patch: &Value) -> Value {
    let mut patch = patch.clone();
    if let Some(spec) = patch.get_mut("spec").and_then(Value::as_object_mut)
        && spec.get("containers").is_some_and(Value::is_null)
    {
        spec.remove("containers");
    }
    patch
}
