//! Doing what was decided about an operation.

use std::sync::Arc;

use contract::crd::{Sandbox, SandboxUpdateOps, SandboxUpdateOpsStatus};
use contract::names::{events, finalizers};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Patch;
use serde_json::{Value, json};

use super::decide::{Observed, OperationAction, decide};
use crate::announce::Announcement;
use crate::api::{Context, has_code, message_of, patch_parameters};
use crate::dispatch::Failure;
use crate::queue::ObjectName;
use crate::sandbox::merge_patch;

/// One turn for the operation of that name.
pub(crate) async fn reconcile(
    context: &Arc<Context>,
    name: &ObjectName,
) -> Result<Option<Timestamp>, Failure> {
    let Some(operation) = context.world.operation(name) else { return Ok(None) };
    let mut sandboxes = context.world.sandboxes();
    sandboxes.retain(|sandbox| sandbox.namespace().as_deref() == Some(name.namespace.as_str()));
    let earlier = earlier(&context.world.operations(&name.namespace), &operation);
    let observed = Observed {
        operation: &operation,
        sandboxes: &sandboxes,
        earlier: earlier.as_deref(),
        now: context.now(),
    };
    let decision = decide(&observed);
    let mut outcome = Ok(());
    for action in decision.actions {
        let done = act(context, &operation, action).await;
        // one sandbox that can't be changed doesn't keep the others waiting
        outcome = outcome.and(done);
    }
    if let Some(status) = &decision.status {
        write_status(context, &operation, status).await?;
    }
    for event in decision.events {
        context.announcer.send(&*operation, event);
    }
    outcome.map(|()| None)
}

/// The oldest operation of the namespace that is not over, if it isn't this one: there is one at a time.
fn earlier(all: &[Arc<SandboxUpdateOps>], operation: &SandboxUpdateOps) -> Option<String> {
    let age = |it: &SandboxUpdateOps| (it.creation_timestamp().map(|time| time.0), it.name_any());
    let open = all.iter().filter(|it| !it.is_over() || it.metadata.deletion_timestamp.is_some());
    let first = open.min_by_key(|it| age(it))?;
    (age(first) < age(operation)).then(|| first.name_any())
}

async fn act(
    context: &Context,
    operation: &SandboxUpdateOps,
    action: OperationAction,
) -> Result<(), Failure> {
    match action {
        OperationAction::AddFinalizer => {
            let mut all = operation.finalizers().to_vec();
            all.push(finalizers::UPDATE_OPS.to_owned());
            write_finalizers(context, operation, json!(all)).await
        }
        OperationAction::DropFinalizer => {
            let all = operation.finalizers().iter();
            let left: Vec<_> = all.filter(|finalizer| *finalizer != finalizers::UPDATE_OPS).collect();
            // none at all is written as absence
            write_finalizers(context, operation, json!((!left.is_empty()).then_some(left))).await
        }
        OperationAction::Patch { sandbox, patch, event } => {
            if write_sandbox(context, operation, &sandbox, &patch).await?
                && let Some(event) = event
            {
                context.announcer.send(operation, event);
            }
            Ok(())
        }
    }
}

/// Whether it was written. Of a sandbox that has changed meanwhile, the watch tells, and the next turn sees it.
async fn write_sandbox(
    context: &Context,
    operation: &SandboxUpdateOps,
    name: &str,
    patch: &Value,
) -> Result<bool, Failure> {
    let sandboxes = context.namespaced::<Sandbox>(&operation.namespace().unwrap_or_default());
    match sandboxes.patch(name, &patch_parameters(), &Patch::Merge(patch)).await {
        Ok(written) => {
            context.world.wrote_sandbox(written);
            Ok(true)
        }
        Err(error) if has_code(&error, 404) || has_code(&error, 409) => Ok(false),
        Err(source) => {
            let message = format!("Sandbox {name} can't be changed: {}", message_of(&source));
            context.announcer.send(operation, Announcement::warning(events::PATCH_FAILED, message));
            Err(Failure::Api { action: "change", object: format!("Sandbox {name}"), source })
        }
    }
}

async fn write_finalizers(
    context: &Context,
    operation: &SandboxUpdateOps,
    finalizers: Value,
) -> Result<(), Failure> {
    let version = operation.resource_version();
    let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
    let operations = context.namespaced::<SandboxUpdateOps>(&operation.namespace().unwrap_or_default());
    match operations.patch(&operation.name_any(), &patch_parameters(), &Patch::Merge(&patch)).await {
        Ok(written) => {
            context.world.wrote_operation(written);
            Ok(())
        }
        Err(error) if has_code(&error, 404) || has_code(&error, 409) => Ok(()),
        Err(source) => {
            Err(Failure::Api { action: "change the finalizer of", object: object(operation), source })
        }
    }
}

async fn write_status(
    context: &Context,
    operation: &SandboxUpdateOps,
    status: &SandboxUpdateOpsStatus,
) -> Result<(), Failure> {
    let Some(patch) = merge_patch(operation.status.as_ref(), status) else { return Ok(()) };
    let operations = context.namespaced::<SandboxUpdateOps>(&operation.namespace().unwrap_or_default());
    match operations.patch_status(&operation.name_any(), &patch_parameters(), &Patch::Merge(&patch)).await {
        Ok(written) => {
            context.world.wrote_operation(written);
            Ok(())
        }
        Err(error) if has_code(&error, 404) => Ok(()),
        Err(source) => Err(Failure::Api { action: "write the status of", object: object(operation), source }),
    }
}

fn object(operation: &SandboxUpdateOps) -> String {
    format!("SandboxUpdateOps/{}/{}", operation.namespace().unwrap_or_default(), operation.name_any())
}
