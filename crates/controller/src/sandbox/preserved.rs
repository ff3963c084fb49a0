//! The writes of an upgrade that keeps files (`kubernetes.md` §5.9, `docs/design/0019-upgrades-with-a-checkpoint.md`).

use std::collections::BTreeMap;

use contract::checkpoint::{self, contents};
use contract::crd::{Checkpoint, CheckpointSpec, Sandbox};
use contract::names::labels;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PostParams;
use kube::{Resource as _, ResourceExt as _};

use super::act::{failed, namespace, words};
use super::preserve::{self, Answer};
use crate::api::{Context, delete_exactly, has_code, message_of, parameters};
use crate::dispatch::Failure;

/// Makes the Checkpoint of the Sandbox's pod, unless it is there.
pub(super) async fn take(context: &Context, sandbox: &Sandbox, name: &str) -> Result<(), Failure> {
    create(context, sandbox, name, &parameters()).await
}

/// Where the API refused the Checkpoint of an upgrade: whether it would take it now, and otherwise why not. Nothing is written.
pub(super) async fn refusal_of_now(
    context: &Context,
    sandbox: &Sandbox,
    pod: Option<&Pod>,
) -> Option<Result<(), String>> {
    let name = preserve::refused(sandbox, &pod?.uid()?)?;
    let question = PostParams { dry_run: true, ..parameters() };
    Some(create(context, sandbox, &name, &question).await.map_err(|failure| words(&failure)))
}

/// What that says to whoever decides.
pub(super) fn answer(refusal: &Result<(), String>) -> Answer<'_> {
    refusal.as_ref().map_or_else(|why| Answer::Refused(why), |()| Answer::Accepted)
}

async fn create(context: &Context, sandbox: &Sandbox, name: &str, how: &PostParams) -> Result<(), Failure> {
    let checkpoints = context.namespaced::<Checkpoint>(&namespace(sandbox));
    match checkpoints.create(how, &wanted(sandbox, name)).await {
        Ok(_) => Ok(()),
        Err(error) if has_code(&error, 409) => {
            let existing = checkpoints.get_opt(name).await.map_err(failed("get", object(name)))?;
            if existing.is_none_or(|found| checkpoint::upgraded(&found) == sandbox.metadata.uid.as_deref()) {
                return Ok(());
            }
            let message = format!(
                "Checkpoint {name} is somebody else's, and the upgrade's would have its name: delete it"
            );
            Err(Failure::CheckpointRefused(message))
        }
        Err(error) if is_final(&error) => Err(Failure::CheckpointRefused(refusal(sandbox, name, &error))),
        Err(error) => Err(failed("create", object(name))(error)),
    }
}

fn wanted(sandbox: &Sandbox, name: &str) -> Checkpoint {
    let spec = CheckpointSpec {
        sandbox_name: Some(sandbox.name_any()),
        persistent_contents: Some(vec![contents::FILESYSTEM.to_owned()]),
        ..CheckpointSpec::default()
    };
    let mut wanted = Checkpoint::new(name, spec);
    wanted.metadata.namespace = sandbox.namespace();
    wanted.metadata.labels = Some(BTreeMap::from([
        (labels::SANDBOX_NAME.to_owned(), sandbox.name_any()),
        (labels::CHECKPOINT_TYPE.to_owned(), contents::FILESYSTEM.to_owned()),
    ]));
    let owner = sandbox.controller_owner_ref(&()).unwrap_or_default();
    wanted.metadata.owner_references =
        Some(vec![OwnerReference { block_owner_deletion: Some(true), ..owner }]);
    wanted
}

/// Whether the API has understood the request and doesn't do it. Of a server that is busy or in trouble nothing of that
/// kind is known.
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && ![408, 429].contains(&status.code))
}

/// What the API says, and what to do.
fn refusal(sandbox: &Sandbox, name: &str, error: &kube::Error) -> String {
    let (said, namespace) = (message_of(error), namespace(sandbox));
    let advice = if said.contains("exceeded quota") {
        format!(": make room in the quota of namespace {namespace}")
    } else if has_code(error, 403) {
        format!(
            ": where the controller lacks the right, grant it the verb create of checkpoints.agents.kruise.io in namespace \
             {namespace}"
        )
    } else {
        String::new()
    };
    format!("the API server refuses to create Checkpoint {name}: {said}{advice}")
}

/// Deletes one that nothing is made from.
pub(super) async fn drop(context: &Context, sandbox: &Sandbox, name: &str, uid: &str) -> Result<(), Failure> {
    let checkpoints = context.namespaced::<Checkpoint>(&namespace(sandbox));
    match checkpoints.delete(name, &delete_exactly(uid)).await {
        Ok(_) => Ok(()),
        // another one has its name by now
        Err(error) if has_code(&error, 404) || has_code(&error, 409) => Ok(()),
        Err(error) => Err(failed("delete", object(name))(error)),
    }
}

fn object(name: &str) -> String {
    format!("Checkpoint {name}")
}
