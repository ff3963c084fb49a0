//! The writes to the pod: resources through `pods/resize` first, then everything else in one patch (`kubernetes.md`
//! §5.8).

use contract::crd::template::pod_template;
use contract::crd::{Sandbox, SandboxStatus};
use contract::names::{annotations, events, labels};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::Patch;
use serde_json::{Value, json};

use super::compare::{Change, Difference, compare};
use super::refuse;
use super::state::UpdateState;
use crate::announce::Announcement;
use crate::api::{Context, has_code, message_of, patch_parameters};
use crate::dispatch::Failure;
use crate::sandbox::act::{failed, namespace, object};

/// Brings the pod's labels, annotations and hash up to date without touching its containers.
pub(crate) async fn patch_metadata(
    context: &Context,
    sandbox: &Sandbox,
    pod: &Pod,
    revision: &str,
) -> Result<(), Failure> {
    // what is told of an update stays true for the pod under its new revision
    let state = UpdateState::of(pod).map(|state| UpdateState { revision: revision.to_owned(), ..state });
    let patch = json!({"metadata": metadata(sandbox, pod, revision, state.as_ref())?});
    match write(context, sandbox, pod, None, patch).await {
        Ok(()) => Ok(()),
        Err(error) => Err(failed("update the pod of", object(sandbox))(error)),
    }
}

/// Brings the pod's images and resources up to date, with labels, annotations and hash. A refusal by the API ends the
/// update and is told; anything else that goes wrong is tried again.
pub(crate) async fn update(
    context: &Context,
    sandbox: &Sandbox,
    pod: &Pod,
    revision: &str,
    status: &mut Option<SandboxStatus>,
) -> Result<(), Failure> {
    let Difference::Containers(change) = compare(sandbox, pod) else { return Ok(()) };
    let outcome = apply(context, sandbox, pod, revision, &change).await?;
    if let (Err(refusal), Some(status)) = (outcome, status) {
        let message = format!("the API server refuses to change the pod: {refusal}");
        refuse(sandbox, status, &message, context.now());
        context.announcer.send(sandbox, Announcement::warning(events::INPLACE_UPDATE_FAILED, message));
    }
    Ok(())
}

/// The patches; a refusal is what the API server says.
async fn apply(
    context: &Context,
    sandbox: &Sandbox,
    pod: &Pod,
    revision: &str,
    change: &Change,
) -> Result<Result<(), String>, Failure> {
    let state = UpdateState::before(pod, change, revision, context.now());
    let mut containers: Vec<Value> =
        change.images.iter().map(|(name, image)| json!({"name": name, "image": image})).collect();
    let mut resize_refusal = None;
    if !change.resources.is_empty() {
        let resources: Vec<Value> = change
            .resources
            .iter()
            .map(|(name, resources)| json!({"name": name, "resources": resources}))
            .collect();
        let patch = json!({"metadata": {"uid": pod.uid()}, "spec": {"containers": resources.clone()}});
        match write(context, sandbox, pod, Some("resize"), patch).await {
            Ok(()) => {}
            // an API server without that subresource, or one that refuses it, may still take an ordinary patch
            Err(error) if is_refusal(&error) || has_code(&error, 404) => {
                resize_refusal = Some(message_of(&error));
                containers.extend(resources);
            }
            Err(error) => return Err(failed("resize the pod of", object(sandbox))(error)),
        }
    }
    let mut patch = json!({"metadata": metadata(sandbox, pod, revision, Some(&state))?});
    if !containers.is_empty() {
        patch["spec"] = json!({"containers": merged(containers)});
    }
    match write(context, sandbox, pod, None, patch).await {
        Ok(()) => Ok(Ok(())),
        Err(error) if is_refusal(&error) => Ok(Err(resize_refusal.unwrap_or_else(|| message_of(&error)))),
        Err(error) => Err(failed("update the pod of", object(sandbox))(error)),
    }
}

/// One entry for each container.
fn merged(parts: Vec<Value>) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for part in parts {
        match all.iter_mut().find(|known| known["name"] == part["name"]) {
            Some(known) => known["resources"] = part["resources"].clone(),
            None => all.push(part),
        }
    }
    all
}

/// The pod's metadata by the template, with what the controller keeps there.
fn metadata(
    sandbox: &Sandbox,
    pod: &Pod,
    revision: &str,
    state: Option<&UpdateState>,
) -> Result<Value, Failure> {
    let template = sandbox.spec.template.as_ref().map(pod_template).transpose()?;
    let wanted = template.and_then(|template| template.metadata).unwrap_or_default();
    let mut pod_labels = wanted.labels.unwrap_or_default();
    pod_labels.insert(labels::POD_TEMPLATE_HASH.to_owned(), revision.to_owned());
    let mut notes = wanted.annotations.unwrap_or_default();
    notes.remove(annotations::HIBERNATE);
    if let Some(state) = state {
        notes.insert(annotations::INPLACE_UPDATE_STATE.to_owned(), state.to_text());
    }
    Ok(json!({"uid": pod.uid(), "labels": pod_labels, "annotations": notes}))
}

/// Patches the pod, or a part of it. One that is gone needs nothing.
async fn write(
    context: &Context,
    sandbox: &Sandbox,
    pod: &Pod,
    part: Option<&str>,
    patch: Value,
) -> Result<(), kube::Error> {
    let pods = context.namespaced::<Pod>(&namespace(sandbox));
    let (name, parameters, patch) = (pod.name_any(), patch_parameters(), Patch::Strategic(patch));
    let written = match part {
        Some(part) => pods.patch_subresource(part, &name, &parameters, &patch).await,
        None => pods.patch(&name, &parameters, &patch).await,
    };
    match written {
        Ok(written) => {
            context.world.wrote_pod(written);
            Ok(())
        }
        Err(error) if part.is_none() && has_code(&error, 404) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the API server understood and says no.
fn is_refusal(error: &kube::Error) -> bool {
    [400, 403, 405, 415, 422].iter().any(|code| has_code(error, *code))
}
