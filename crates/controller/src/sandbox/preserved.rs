//! The writes of an upgrade that keeps files (`kubernetes.md` §5.9, `docs/design/0019-upgrades-with-a-checkpoint.md`).

use std::collections::BTreeMap;

use contract::checkpoint::{self, contents};
use contract::crd::{Checkpoint, CheckpointSpec, Sandbox};
use contract::errors::{Code, Problem};
use contract::names::labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};

use super::act::{failed, namespace};
use crate::api::{Context, delete_exactly, has_code, parameters};
use crate::dispatch::Failure;

/// Makes the Checkpoint of the Sandbox's pod, unless it is there.
pub(super) async fn take(context: &Context, sandbox: &Sandbox, name: &str) -> Result<(), Failure> {
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
    let checkpoints = context.namespaced::<Checkpoint>(&namespace(sandbox));
    match checkpoints.create(&parameters(), &wanted).await {
        Ok(_) => Ok(()),
        Err(error) if has_code(&error, 409) => {
            let existing = checkpoints.get_opt(name).await.map_err(failed("get", object(name)))?;
            if existing.is_none_or(|found| checkpoint::upgraded(&found) == sandbox.metadata.uid.as_deref()) {
                return Ok(());
            }
            let message = format!(
                "Checkpoint {name} is somebody else's, and the upgrade's would have its name: delete it"
            );
            Err(Problem::new(Code::CheckpointFailed, message).about(object(name)).into())
        }
        Err(error) => Err(failed("create", object(name))(error)),
    }
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
