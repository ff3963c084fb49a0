//! Doing what was decided about a Checkpoint.

use std::sync::Arc;

use contract::checkpoint::{self, Order, phases};
use contract::crd::{Checkpoint, CheckpointStatus, Sandbox, SandboxTemplate};
use contract::names::{annotations, finalizers, labels};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::Patch;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use super::decide::{CheckpointAction, NodePower, Observed, decide, refusal};
use crate::api::{Context, delete_exactly, has_code, parameters, patch_parameters};
use crate::dispatch::Failure;
use crate::queue::ObjectName;
use crate::sandbox::merge_patch;

/// One turn for the Checkpoint of that name. Returns when the next one is due.
pub(crate) async fn reconcile(
    context: &Arc<Context>,
    name: &ObjectName,
) -> Result<Option<Timestamp>, Failure> {
    let Some(checkpoint) = context.world.checkpoint(name) else { return Ok(None) };
    let (sandbox, pod) = source(context, &checkpoint).await?;
    let node = power(context, &checkpoint, pod.as_ref()).await?;
    let seen = Observed {
        checkpoint: &checkpoint,
        sandbox: sandbox.as_ref(),
        pod: pod.as_ref(),
        node,
        clones: clones(context, &checkpoint),
        now: context.now(),
    };
    let decision = decide(&seen);
    match (&decision.action, &sandbox) {
        (Some(CheckpointAction::Order(order)), Some(sandbox)) => {
            // nothing but the very Sandbox is made from one of an upgrade
            let companion = if checkpoint::upgraded(&checkpoint).is_some() {
                Ok(())
            } else {
                make_companion(context, &checkpoint, sandbox).await
            };
            match companion {
                // Waiting would not help: somebody else's object is in the way.
                Err(taken @ Failure::TemplateTaken { .. }) => {
                    let status = refusal(&seen, &taken.to_string());
                    return write_status(context, &checkpoint, &status).await.map(|()| None);
                }
                made => made?,
            }
            give_order(context, &checkpoint, sandbox, order).await?;
        }
        (Some(CheckpointAction::Order(_)) | None, _) => {}
        (Some(CheckpointAction::Release), _) => {
            let metadata = json!({"annotations": {annotations::CHECKPOINT_RELEASED: "true"}});
            patch(context, &checkpoint, "release", metadata).await?;
        }
        (Some(CheckpointAction::DropFinalizer), _) => drop_finalizer(context, &checkpoint).await?,
        (Some(CheckpointAction::Delete), _) => delete(context, &checkpoint).await?,
    }
    if let Some(status) = &decision.status {
        write_status(context, &checkpoint, status).await?;
    }
    Ok(decision.wake_at)
}

/// Whether something about the sandbox can still make a difference.
fn is_new(checkpoint: &Checkpoint) -> bool {
    checkpoint.metadata.deletion_timestamp.is_none()
        && !matches!(checkpoint::phase(checkpoint), phases::CREATING | phases::SUCCEEDED | phases::FAILED)
}

/// The Sandbox that a new Checkpoint names and its pod; asked for where the watches don't know them yet.
async fn source(
    context: &Context,
    checkpoint: &Checkpoint,
) -> Result<(Option<Sandbox>, Option<Pod>), Failure> {
    let Ok(name) = checkpoint::source(&checkpoint.spec) else { return Ok((None, None)) };
    if !is_new(checkpoint) || !contract::extensions::is_dns_subdomain(name) {
        return Ok((None, None));
    }
    let key = ObjectName { namespace: namespace(checkpoint), name: name.to_owned() };
    let sandbox = if let Some(known) = context.world.sandbox(&key) {
        Some((*known).clone())
    } else {
        let sandboxes = context.namespaced::<Sandbox>(&key.namespace);
        sandboxes.get_opt(name).await.map_err(failed("get", format!("Sandbox/{key}")))?
    };
    let pod = if let Some(known) = context.world.pod(&key) {
        Some((*known).clone())
    } else {
        let pods = context.namespaced::<Pod>(&key.namespace);
        pods.get_opt(name).await.map_err(failed("get", format!("Pod/{key}")))?
    };
    Ok((sandbox, pod))
}

/// What the node can do: the one that has the order, otherwise the pod's.
async fn power(context: &Context, checkpoint: &Checkpoint, pod: Option<&Pod>) -> Result<NodePower, Failure> {
    let ordered = Order::of(checkpoint).map(|order| order.node);
    let of_pod = || pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone());
    let is_over = matches!(checkpoint::phase(checkpoint), phases::SUCCEEDED | phases::FAILED)
        && checkpoint.metadata.deletion_timestamp.is_none();
    let Some(name) = ordered.or_else(of_pod).filter(|_| !is_over) else { return Ok(NodePower::Keeps) };
    let nodes: Api<Node> = Api::all(context.client.clone());
    match nodes.get_opt(&name).await {
        Ok(None) => Ok(NodePower::Gone),
        Ok(Some(node)) => {
            let keeps = node.labels().get(labels::NODE_CHECKPOINTS).map(String::as_str);
            if keeps == Some(labels::KEEPS_FILESYSTEM) {
                return Ok(NodePower::Keeps);
            }
            Ok(NodePower::Lacks(format!(
                "node {name} cannot keep the file system of a container: it has no label {}={}, which the part of a node \
                 that takes checkpoints sets",
                labels::NODE_CHECKPOINTS,
                labels::KEEPS_FILESYSTEM
            )))
        }
        Err(error) if has_code(&error, 403) => {
            Ok(NodePower::Lacks(format!("the controller may not read node {name}: let it get nodes")))
        }
        Err(error) => Err(failed("get", format!("Node/{name}"))(error)),
    }
}

/// Names of the sandboxes that were made from it, in order.
fn clones(context: &Context, checkpoint: &Checkpoint) -> Vec<String> {
    if checkpoint.metadata.deletion_timestamp.is_none() {
        return Vec::new();
    }
    let (id, namespace) = (checkpoint::id(checkpoint), checkpoint.namespace());
    let made = context.world.pool.select(|sandbox| {
        sandbox.namespace() == namespace && sandbox.annotations().get(annotations::RESTORE_FROM) == Some(&id)
    });
    let mut names: Vec<_> = made.iter().map(|sandbox| sandbox.name_any()).collect();
    names.sort();
    names
}

/// The `SandboxTemplate` that clones are made from, of the Checkpoint's name and owned by it.
async fn make_companion(
    context: &Context,
    checkpoint: &Checkpoint,
    sandbox: &Sandbox,
) -> Result<(), Failure> {
    let name = checkpoint.name_any();
    let templates = context.namespaced::<SandboxTemplate>(&namespace(checkpoint));
    let template = match (&sandbox.spec.template, &sandbox.spec.template_ref) {
        (Some(template), _) => template.clone(),
        (None, Some(reference)) => {
            let found = templates.get_opt(&reference.name).await;
            let found = found.map_err(failed("get", format!("SandboxTemplate {}", reference.name)))?;
            found.and_then(|found| found.spec.template).unwrap_or(Value::Null)
        }
        (None, None) => Value::Null,
    };
    let mut companion = checkpoint::companion(sandbox, &template);
    companion.metadata.name = Some(name.clone());
    companion.metadata.namespace = checkpoint.namespace();
    let owner = checkpoint.controller_owner_ref(&()).unwrap_or_default();
    companion.metadata.owner_references =
        Some(vec![OwnerReference { block_owner_deletion: Some(true), ..owner }]);
    match templates.create(&parameters(), &companion).await {
        Ok(_) => Ok(()),
        Err(error) if has_code(&error, 409) => {
            let uid = checkpoint.uid().unwrap_or_default();
            let existing = templates.get_opt(&name).await;
            let existing = existing.map_err(failed("get", format!("SandboxTemplate {name}")))?;
            let is_ours =
                existing.is_some_and(|found| found.owner_references().iter().any(|owner| owner.uid == uid));
            if is_ours { Ok(()) } else { Err(Failure::TemplateTaken { name }) }
        }
        Err(error) => Err(failed("create", format!("SandboxTemplate {name}"))(error)),
    }
}

/// Finalizer, order and what clones have to know, in one write.
async fn give_order(
    context: &Context,
    checkpoint: &Checkpoint,
    sandbox: &Sandbox,
    order: &Order,
) -> Result<(), Failure> {
    let mut notes = serde_json::Map::new();
    notes.insert(annotations::CHECKPOINT_ORDER.to_owned(), order.text().into());
    let mounts = checkpoint::mounts_of(sandbox);
    if mounts > 0 {
        notes.insert(annotations::SOURCE_MOUNTS.to_owned(), mounts.to_string().into());
    }
    let id = sandbox.labels().get(labels::SANDBOX_ID).cloned();
    let id =
        id.unwrap_or_else(|| contract::names::legacy_sandbox_id(&namespace(checkpoint), &sandbox.name_any()));
    notes.insert(annotations::SANDBOX_ID.to_owned(), id.into());
    // one of an upgrade is no snapshot of the sandbox's user
    if let (None, None, Some(owner)) = (
        checkpoint::upgraded(checkpoint),
        checkpoint.annotations().get(annotations::OWNER),
        sandbox.annotations().get(annotations::OWNER),
    ) {
        notes.insert(annotations::OWNER.to_owned(), owner.clone().into());
    }
    let mut all = checkpoint.finalizers().to_vec();
    if !all.iter().any(|finalizer| finalizer == finalizers::CHECKPOINT) {
        all.push(finalizers::CHECKPOINT.to_owned());
    }
    let metadata = json!({
        "resourceVersion": checkpoint.resource_version(),
        "finalizers": all,
        "labels": {
            labels::CHECKPOINT_ID: checkpoint::id(checkpoint),
            labels::SANDBOX_NAME: sandbox.name_any(),
        },
        "annotations": notes,
    });
    patch(context, checkpoint, "order", metadata).await
}

async fn drop_finalizer(context: &Context, checkpoint: &Checkpoint) -> Result<(), Failure> {
    let remaining: Vec<&String> =
        checkpoint.finalizers().iter().filter(|finalizer| *finalizer != finalizers::CHECKPOINT).collect();
    let metadata = json!({
        "resourceVersion": checkpoint.resource_version(),
        "finalizers": (!remaining.is_empty()).then_some(remaining),
    });
    patch(context, checkpoint, "drop the finalizer of", metadata).await
}

async fn patch(
    context: &Context,
    checkpoint: &Checkpoint,
    action: &'static str,
    metadata: Value,
) -> Result<(), Failure> {
    let checkpoints = context.namespaced::<Checkpoint>(&namespace(checkpoint));
    let patch = Patch::Merge(json!({"metadata": metadata}));
    match checkpoints.patch(&checkpoint.name_any(), &patch_parameters(), &patch).await {
        Ok(written) => {
            context.world.wrote_checkpoint(written);
            Ok(())
        }
        Err(error) if has_code(&error, 404) => Ok(()),
        Err(error) => Err(failed(action, object(checkpoint))(error)),
    }
}

async fn delete(context: &Context, checkpoint: &Checkpoint) -> Result<(), Failure> {
    let checkpoints = context.namespaced::<Checkpoint>(&namespace(checkpoint));
    let uid = checkpoint.uid().unwrap_or_default();
    match checkpoints.delete(&checkpoint.name_any(), &delete_exactly(&uid)).await {
        Ok(_) => Ok(()),
        Err(error) if has_code(&error, 404) => Ok(()),
        Err(error) => Err(failed("delete", object(checkpoint))(error)),
    }
}

async fn write_status(
    context: &Context,
    checkpoint: &Checkpoint,
    status: &CheckpointStatus,
) -> Result<(), Failure> {
    let Some(patch) = merge_patch(checkpoint.status.as_ref(), status) else { return Ok(()) };
    let checkpoints = context.namespaced::<Checkpoint>(&namespace(checkpoint));
    match checkpoints.patch_status(&checkpoint.name_any(), &patch_parameters(), &Patch::Merge(&patch)).await {
        Ok(written) => {
            context.world.wrote_checkpoint(written);
            Ok(())
        }
        Err(error) if has_code(&error, 404) => Ok(()),
        Err(error) => Err(failed("write the status of", object(checkpoint))(error)),
    }
}

fn namespace(checkpoint: &Checkpoint) -> String {
    checkpoint.namespace().unwrap_or_default()
}

fn object(checkpoint: &Checkpoint) -> String {
    format!("Checkpoint/{}/{}", namespace(checkpoint), checkpoint.name_any())
}

fn failed(action: &'static str, object: String) -> impl FnOnce(kube::Error) -> Failure {
    move |source| Failure::Api { action, object, source }
}
