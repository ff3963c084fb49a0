//! The conditions of a set, as a pure function: whether its pool is full, and whether all of it is of the template of
//! now. Upstream declares conditions and writes none; these are what `kubectl wait` and `kubectl describe` need.

use std::sync::Arc;

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxSetStatus};
use kube::ResourceExt as _;

use super::plan::{Groups, Observed};
use super::victims;

/// Writes both conditions. `status` has the counts of now and the conditions of before.
pub(super) fn write(status: &mut SandboxSetStatus, observed: &Observed<'_>, groups: &Groups) {
    let wanted = observed.set.spec.replicas.max(0);
    let (is_full, reason, message) = availability(status.available_replicas, wanted, groups);
    conditions::set(&mut status.conditions, types::AVAILABLE, is_full, reason, &message, observed.now);
    let (is_current, reason, message) = currency(status, observed);
    conditions::set(&mut status.conditions, types::UP_TO_DATE, is_current, reason, &message, observed.now);
    for condition in &mut status.conditions {
        condition.observed_generation = observed.set.metadata.generation;
    }
}

fn availability(available: i32, wanted: i32, groups: &Groups) -> (bool, &'static str, String) {
    let counts = format!("{available} available, {wanted} wanted");
    if available >= wanted {
        return (true, reasons::ALL_REPLICAS_AVAILABLE, counts);
    }
    match trouble(groups) {
        Some((name, words)) => {
            (false, reasons::SANDBOX_NOT_READY, format!("{counts}; sandbox {name}: {words}"))
        }
        None => (false, reasons::CREATING_REPLICAS, counts),
    }
}

/// The oldest member that says what keeps it from starting.
fn trouble(groups: &Groups) -> Option<(String, &str)> {
    let mut troubled: Vec<_> =
        groups.creating.iter().filter_map(|sandbox| Some((sandbox, words(sandbox)?))).collect();
    troubled.sort_by_key(|(sandbox, _)| victims::age(sandbox.as_ref()));
    troubled.first().map(|(sandbox, words)| (sandbox.name_any(), *words))
}

fn words(sandbox: &Arc<Sandbox>) -> Option<&str> {
    let ready = conditions::find(&sandbox.status.as_ref()?.conditions, types::READY)?;
    let is_told =
        [reasons::POD_CREATE_FAILED, reasons::START_CONTAINER_FAILED].contains(&ready.reason.as_str());
    (ready.status != "True" && is_told && !ready.message.is_empty()).then_some(ready.message.as_str())
}

fn currency(status: &SandboxSetStatus, observed: &Observed<'_>) -> (bool, &'static str, String) {
    if let Some(obstacle) = observed.obstacle {
        return (false, reasons::INVALID_TEMPLATE, obstacle.to_owned());
    }
    let (all, updated) = (status.replicas, status.updated_replicas.unwrap_or(0));
    let message = format!("{updated} of {all} unclaimed sandboxes are of revision {}", observed.revision);
    if updated >= all {
        (true, reasons::ALL_REPLICAS_UPDATED, message)
    } else {
        (false, reasons::ROLLING_UPDATE, message)
    }
}
