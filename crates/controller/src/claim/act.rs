//! Doing what was decided about a claim.

use std::sync::Arc;

use contract::crd::{Sandbox, SandboxClaim, SandboxClaimStatus, SandboxSet};
use contract::names::{annotations, labels};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Patch;

use super::decide::{ClaimAction, Observed, decide};
use crate::api::{Context, delete_exactly, has_code, patch_parameters};
use crate::dispatch::Failure;
use crate::queue::ObjectName;
use crate::sandbox::merge_patch;

/// One turn for the claim of that name. Returns when the next one is due.
pub(crate) async fn reconcile(
    context: &Arc<Context>,
    name: &ObjectName,
) -> Result<Option<Timestamp>, Failure> {
    let Some(claim) = context.world.claim(name) else {
        context.attempts.stop(name);
        return Ok(None);
    };
    let set = set_of(context, name, &claim).await?;
    let (under_way, trouble) = context.attempts.of(name, &claim);
    let decision = decide(&Observed {
        claim: &claim,
        set: set.as_deref(),
        claimed: claimed(context, &claim),
        under_way,
        trouble: trouble.as_ref(),
        now: context.now(),
    });
    if let Some(status) = &decision.status {
        write_status(context, &claim, status).await?;
    }
    for event in decision.events {
        context.announcer.send(&*claim, event);
    }
    for action in decision.actions {
        match (action, &set) {
            (ClaimAction::Start(count), Some(set)) => {
                for _ in 0..count {
                    context.attempts.start(context, name, &claim, set);
                }
            }
            (ClaimAction::Start(_), None) => {}
            (ClaimAction::Stop, _) => context.attempts.stop(name),
            (ClaimAction::Delete, _) => delete(context, &claim).await?,
        }
    }
    Ok(decision.wake_at)
}

/// The set that the claim names. One that the watch doesn't know is asked for: its events may come after the claim's.
async fn set_of(
    context: &Context,
    name: &ObjectName,
    claim: &SandboxClaim,
) -> Result<Option<Arc<SandboxSet>>, Failure> {
    let set = ObjectName { namespace: name.namespace.clone(), name: claim.spec.template_name.clone() };
    if let Some(set) = context.world.set(&set) {
        return Ok(Some(set));
    }
    if !contract::extensions::is_dns_subdomain(&set.name) {
        return Ok(None);
    }
    let sets = context.namespaced::<SandboxSet>(&set.namespace);
    let found = sets.get_opt(&set.name).await;
    let found = found.map_err(|source| Failure::Api {
        action: "get",
        object: format!("SandboxSet {set}"),
        source,
    })?;
    Ok(found.map(Arc::new))
}

/// Sandboxes that were handed out to the claim and exist.
fn claimed(context: &Context, claim: &SandboxClaim) -> i32 {
    let (namespace, name, uid) = (claim.namespace(), claim.name_any(), claim.uid().unwrap_or_default());
    let is_handed_out = |sandbox: &Sandbox| {
        let (notes, marks) = (sandbox.annotations(), sandbox.labels());
        sandbox.namespace() == namespace
            && marks.get(labels::CLAIM_NAME) == Some(&name)
            && notes.get(annotations::OWNER) == Some(&uid)
            && !notes.contains_key(annotations::CLAIM_UNACKNOWLEDGED_UNTIL)
            && marks.get(labels::RESERVED_FAILED_SANDBOX).is_none_or(|value| value != "true")
            && sandbox.metadata.deletion_timestamp.is_none()
    };
    i32::try_from(context.world.pool.select(is_handed_out).len()).unwrap_or(i32::MAX)
}

async fn write_status(
    context: &Context,
    claim: &SandboxClaim,
    status: &SandboxClaimStatus,
) -> Result<(), Failure> {
    let Some(patch) = merge_patch(claim.status.as_ref(), status) else { return Ok(()) };
    let claims = context.namespaced::<SandboxClaim>(&claim.namespace().unwrap_or_default());
    match claims.patch_status(&claim.name_any(), &patch_parameters(), &Patch::Merge(&patch)).await {
        Ok(written) => {
            context.world.wrote_claim(written);
            Ok(())
        }
        Err(error) if has_code(&error, 404) => Ok(()),
        Err(source) => Err(Failure::Api { action: "write the status of", object: object(claim), source }),
    }
}

async fn delete(context: &Context, claim: &SandboxClaim) -> Result<(), Failure> {
    let claims = context.namespaced::<SandboxClaim>(&claim.namespace().unwrap_or_default());
    let uid = claim.uid().unwrap_or_default();
    match claims.delete(&claim.name_any(), &delete_exactly(&uid)).await {
        Ok(_) => Ok(()),
        Err(error) if has_code(&error, 404) => Ok(()),
        Err(source) => Err(Failure::Api { action: "delete", object: object(claim), source }),
    }
}

fn object(claim: &SandboxClaim) -> String {
    format!("SandboxClaim/{}/{}", claim.namespace().unwrap_or_default(), claim.name_any())
}
