//! The two writes of recycling (`kubernetes.md` §5.11), each on the very version that was decided about.

use contract::crd::{Sandbox, TrafficPolicy};
use kube::ResourceExt as _;
use kube::api::DeleteParams;

use super::act::{failed, namespace, object};
use crate::api::{Context, delete_exactly, has_code, parameters};
use crate::dispatch::Failure;

/// Takes the user's network rules away and writes the Sandbox without anything of its claim. The pod that they were for
/// is gone by now.
pub(super) async fn clear(context: &Context, sandbox: &Sandbox, cleared: &Sandbox) -> Result<(), Failure> {
    remove_network_rules(context, sandbox).await?;
    replace(context, cleared).await
}

/// Writes the Sandbox as it is to be. One that is gone needs nothing.
pub(super) async fn replace(context: &Context, sandbox: &Sandbox) -> Result<(), Failure> {
    let sandboxes = context.namespaced::<Sandbox>(&namespace(sandbox));
    match sandboxes.replace(&sandbox.name_any(), &parameters(), sandbox).await {
        Ok(written) => {
            context.world.wrote_sandbox(written);
            Ok(())
        }
        Err(error) if has_code(&error, 404) => Ok(()),
        Err(error) => Err(failed("clean", object(sandbox))(error)),
    }
}

/// The policy that the manager made for this very Sandbox; it bears its name and goes with it only when it is deleted.
async fn remove_network_rules(context: &Context, sandbox: &Sandbox) -> Result<(), Failure> {
    let name = sandbox.name_any();
    let policies = context.namespaced::<TrafficPolicy>(&namespace(sandbox));
    let what = || format!("TrafficPolicy {name}");
    let Some(policy) = policies.get_opt(&name).await.map_err(failed("get", what()))? else { return Ok(()) };
    if policy.owner_references().iter().all(|owner| Some(&owner.uid) != sandbox.metadata.uid.as_ref()) {
        return Ok(());
    }
    let how: DeleteParams = delete_exactly(&policy.uid().unwrap_or_default());
    match policies.delete(&name, &how).await {
        Ok(_) => Ok(()),
        Err(error) if has_code(&error, 404) || has_code(&error, 409) => Ok(()),
        Err(error) => Err(failed("delete", what())(error)),
    }
}
