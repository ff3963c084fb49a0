//! The status of an operation: counters, phase, and two conditions for `kubectl wait`. Upstream writes no conditions.

use contract::conditions::{self, reasons, types};
use contract::crd::{SandboxUpdateOpsStatus, UpdateOpsPhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::decide::{Groups, Observed};

/// Sandboxes that a message names.
const NAMED: usize = 5;

/// Before anything is begun.
pub(super) fn pending(observed: &Observed<'_>) -> SandboxUpdateOpsStatus {
    let message = match observed.earlier {
        Some(earlier) => format!(
            "waits for SandboxUpdateOps {earlier}, which is not over: delete it to have this one go on at once"
        ),
        None => "not started".to_owned(),
    };
    let reason = if observed.earlier.is_some() { reasons::ANOTHER_OPERATION } else { reasons::PENDING };
    let mut status = next(observed, UpdateOpsPhase::Pending);
    set(observed, &mut status, types::COMPLETED, false, reason, &message);
    status
}

/// What is wrong with the operation itself.
pub(super) fn refused(observed: &Observed<'_>, flaw: &str) -> SandboxUpdateOpsStatus {
    let mut status = next(observed, UpdateOpsPhase::Failed);
    let reason = reasons::INVALID_OPERATION;
    set(observed, &mut status, types::COMPLETED, false, reason, flaw);
    set(observed, &mut status, types::FAILED, true, reason, flaw);
    status
}

/// The counters, of which `started` candidates are counted as being updated.
pub(super) fn counted(
    observed: &Observed<'_>,
    groups: &Groups<'_>,
    started: usize,
    phase: UpdateOpsPhase,
) -> SandboxUpdateOpsStatus {
    let mut status = next(observed, phase);
    let failed = groups.failed.len() + groups.unfit.len();
    status.replicas = number(groups.total());
    status.updated_replicas = number(groups.updated.len());
    status.failed_replicas = number(failed);
    status.updating_replicas = number(groups.updating + groups.woken.len() + started);
    let progress = format!("{} of {} sandboxes upgraded", groups.updated.len(), groups.total());
    let failures = failures(groups);
    let (is_true, reason, message) = match phase {
        UpdateOpsPhase::Completed if groups.total() == 0 => {
            let message = "no sandbox that the selector matches needs the patch".to_owned();
            (true, reasons::ALL_REPLICAS_UPDATED, message)
        }
        UpdateOpsPhase::Completed => (true, reasons::ALL_REPLICAS_UPDATED, progress),
        UpdateOpsPhase::Failed => (false, reasons::UPGRADE_FAILED, format!("{progress}; {failures}")),
        _ if observed.operation.spec.paused => {
            (false, reasons::PAUSED, format!("{progress}; spec.paused: nothing new is started"))
        }
        _ if is_blocked(observed, groups, started) => {
            let what = "as many have failed as may be unavailable, so nothing new is started";
            (false, reasons::MAX_UNAVAILABLE_FAILED, format!("{progress}; {what}; {failures}"))
        }
        _ => (false, reasons::UPDATING, progress),
    };
    set(observed, &mut status, types::COMPLETED, is_true, reason, &message);
    if failed > 0 {
        set(observed, &mut status, types::FAILED, true, reasons::UPGRADE_FAILED, &failures);
    } else {
        conditions::remove(&mut status.conditions, types::FAILED);
    }
    status
}

/// Whether the conditions name that sandbox.
pub(super) fn tells(conditions: &[Condition], sandbox: &str) -> bool {
    let failed = conditions::find(conditions, types::FAILED);
    failed.is_some_and(|failed| failed.message.contains(&named(sandbox)))
}

/// Whether nothing moves any more until somebody does something.
fn is_blocked(observed: &Observed<'_>, groups: &Groups<'_>, started: usize) -> bool {
    let moving = groups.updating + groups.woken.len() + started;
    moving == 0 && !groups.candidates.is_empty() && groups.budget(observed.operation) == 0
}

fn failures(groups: &Groups<'_>) -> String {
    let failed = groups.failed.iter().map(|(sandbox, why, _)| (sandbox, why));
    let all: Vec<_> = failed.chain(groups.unfit.iter().map(|(sandbox, why)| (sandbox, why))).collect();
    let told = all.iter().take(NAMED).map(|(sandbox, why)| format!("{}{why}", named(&sandbox.name_any())));
    let mut text = told.collect::<Vec<_>>().join("; ");
    if all.len() > NAMED {
        text = format!("{text}; and {} more", all.len() - NAMED);
    }
    text
}

fn named(sandbox: &str) -> String {
    format!("Sandbox {sandbox}: ")
}

fn next(observed: &Observed<'_>, phase: UpdateOpsPhase) -> SandboxUpdateOpsStatus {
    SandboxUpdateOpsStatus {
        observed_generation: observed.operation.metadata.generation,
        phase: Some(phase),
        ..observed.operation.status.clone().unwrap_or_default()
    }
}

fn set(
    observed: &Observed<'_>,
    status: &mut SandboxUpdateOpsStatus,
    kind: &str,
    is_true: bool,
    reason: &str,
    message: &str,
) {
    conditions::set(&mut status.conditions, kind, is_true, reason, message, observed.now);
    if let Some(condition) = status.conditions.iter_mut().find(|condition| condition.type_ == kind) {
        condition.observed_generation = observed.operation.metadata.generation;
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
