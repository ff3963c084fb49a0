//! After the last step: every sandbox ended, and nothing of it left.

use std::time::Duration;

use e2b_client::ListQuery;
use lab::Leftover;
use tokio::time::Instant;

use super::context::{Context, Made, StepError};
use super::failure::{Failure, recent};
use crate::model::ObjectReference;

/// How soon the inventory is taken again while something is left, at first, and at most: it costs a cluster much.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(400);

/// Ends every sandbox of the API key, then waits until the leak ledger is empty.
pub(super) async fn clean(context: &Context<'_>, check_leftovers: bool) -> Vec<Failure> {
    let mut failures = Vec::new();
    kill_all(context, &mut failures).await;
    if check_leftovers {
        failures.extend(nothing_left(context).await);
    }
    failures
}

async fn kill_all(context: &Context<'_>, failures: &mut Vec<Failure>) {
    let place = context.planned.source.path.display().to_string();
    let left: Vec<Made> = context.sandboxes().into_iter().filter(|made| !made.ended).collect();
    for adopted in left.iter().filter(|made| made.adopted) {
        if let Err(error) = delete(context, adopted).await {
            failures.push(Failure::new("cleanup", &place, error.to_string()));
        }
    }
    let mut ids: Vec<String> =
        left.into_iter().filter(|made| !made.adopted).map(|made| made.info.sandbox_id).collect();
    match context.client.list(&ListQuery::default()).await {
        Ok(listed) => ids.extend(listed.into_iter().map(|info| info.sandbox_id)),
        Err(error) => failures.push(Failure::new("cleanup", &place, lab::chain(&error))),
    }
    ids.sort();
    ids.dedup();
    for id in ids {
        match context.client.kill(&id).await {
            Ok(_) => {}
            Err(error) if error.refusal().is_some_and(|refusal| refusal.status == 404) => {}
            Err(error) => {
                let mut failure = Failure::new("cleanup", &place, lab::chain(&error));
                failure.entries = recent(context.journal(), &[id]);
                failures.push(failure);
            }
        }
    }
}

/// Deletes a sandbox that the E2B API doesn't know.
async fn delete(context: &Context<'_>, adopted: &Made) -> Result<(), StepError> {
    let reference = ObjectReference {
        api_version: None,
        kind: "Sandbox".into(),
        name: adopted.pod.clone(),
        namespace: adopted.namespace.clone(),
    };
    match context.objects().await?.delete(&reference).await {
        Err(error) if error.refusal().is_none_or(|(status, _, _)| status != 404) => {
            Err(StepError::of(&error))
        }
        _ => Ok(()),
    }
}

async fn nothing_left(context: &Context<'_>) -> Option<Failure> {
    let limit = context.planned.scenario.limits.cleanup;
    let end = Instant::now() + limit.0;
    let place = context.planned.source.path.display().to_string();
    let mut pause = FIRST_PAUSE;
    loop {
        match context.lab.leftovers().await {
            Err(error) => return Some(Failure::new("cleanup", &place, lab::chain(&error))),
            Ok(left) if left.is_empty() => return None,
            Ok(left) if Instant::now() >= end => {
                let words = format!(
                    "something is left after the limit `cleanup` of {limit}:\n{}",
                    left.iter().map(|entry| describe(context, entry)).collect::<Vec<_>>().join("\n")
                );
                let owners: Vec<String> = left.into_iter().map(|entry| entry.owner).collect();
                let mut failure = Failure::new("cleanup", &place, words);
                failure.entries = recent(context.journal(), &owners);
                return Some(failure);
            }
            Ok(_) => {
                tokio::time::sleep(pause).await;
                pause = LAST_PAUSE.min(pause.saturating_mul(2));
            }
        }
    }
}

/// A leftover with the step whose sandbox it was.
fn describe(context: &Context<'_>, left: &Leftover) -> String {
    let made = context
        .sandboxes()
        .into_iter()
        .find(|made| left.owner.contains(&made.pod) || left.subject.contains(&made.pod));
    let step = made.map(|made| format!(", made by {}", made.step)).unwrap_or_default();
    format!("{} {} of {}{step}", left.kind, left.subject, left.owner)
}
