//! What to do about one `SandboxUpdateOps`, as a pure function.

use std::sync::Arc;

use contract::crd::{Sandbox, SandboxUpdateOps, SandboxUpdateOpsStatus, UpdateOpsPhase};
use contract::names::{events, finalizers};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};
use serde_json::Value;

use super::class::{self, Class};
use super::{status, step, template};
use crate::announce::Announcement;
use crate::set::scaled;

/// What is known about one operation.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The operation.
    pub operation: &'a SandboxUpdateOps,
    /// The sandboxes of its namespace.
    pub sandboxes: &'a [Arc<Sandbox>],
    /// The operation of its namespace that is older and not over.
    pub earlier: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum OperationAction {
    /// Keep the operation until its sandboxes are released, whoever deletes it.
    AddFinalizer,
    /// Let the operation go.
    DropFinalizer,
    /// Change a sandbox.
    Patch {
        /// Its name.
        sandbox: String,
        /// A merge patch, of the version that was looked at and no other.
        patch: Value,
        /// Announced about the operation once it is written.
        event: Option<Announcement>,
    },
}

/// What to do about one operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperationDecision {
    /// In this order.
    pub actions: Vec<OperationAction>,
    /// The status as it should be; nothing when it must not be written.
    pub status: Option<SandboxUpdateOpsStatus>,
    /// Events to announce about the operation.
    pub events: Vec<Announcement>,
}

/// The sandboxes of an operation by what they are to it, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Groups<'a> {
    pub(super) candidates: Vec<(&'a Sandbox, Value)>,
    pub(super) woken: Vec<(&'a Sandbox, Value)>,
    /// On their way into a pause.
    pub(super) pausing: usize,
    pub(super) updating: usize,
    /// Upgraded; whether that is written down in them.
    pub(super) updated: Vec<(&'a Sandbox, bool)>,
    /// Not upgraded, why, and whether that is written down in them.
    pub(super) failed: Vec<(&'a Sandbox, String, bool)>,
    /// Left alone, and why.
    pub(super) unfit: Vec<(&'a Sandbox, String)>,
}

impl Groups<'_> {
    pub(super) fn total(&self) -> usize {
        let begun = self.woken.len() + self.updating + self.updated.len() + self.failed.len();
        self.candidates.len() + self.pausing + begun + self.unfit.len()
    }

    /// Whether nothing is left to do, and all of that is written down.
    fn is_over(&self) -> bool {
        let open = self.candidates.len() + self.pausing + self.woken.len() + self.updating;
        let written = self.updated.iter().all(|(_, settled)| *settled)
            && self.failed.iter().all(|(_, _, marked)| *marked);
        open == 0 && written
    }

    /// How many more may be begun (`kubernetes.md` §7.2): what has failed uses the budget up.
    pub(super) fn budget(&self, operation: &SandboxUpdateOps) -> usize {
        let strategy = operation.spec.update_strategy.as_ref();
        let limit = strategy.and_then(|strategy| strategy.max_unavailable.as_ref());
        let total = i32::try_from(self.total()).unwrap_or(i32::MAX);
        let limit = limit.and_then(|limit| scaled(limit, total)).unwrap_or(1).max(1);
        let unavailable = self.updating + self.woken.len() + self.failed.len();
        usize::try_from(limit).unwrap_or(1).saturating_sub(unavailable)
    }
}

/// Decides about one operation.
pub fn decide(observed: &Observed<'_>) -> OperationDecision {
    let operation = observed.operation;
    let has_finalizer = operation.finalizers().iter().any(|finalizer| finalizer == finalizers::UPDATE_OPS);
    if operation.metadata.deletion_timestamp.is_some() {
        return release(observed, has_finalizer);
    }
    if operation.is_over() {
        return OperationDecision::default();
    }
    let mut decision = OperationDecision::default();
    if !has_finalizer {
        decision.actions.push(OperationAction::AddFinalizer);
        decision.status = Some(status::pending(observed));
        return decision;
    }
    if observed.earlier.is_some() {
        decision.status = Some(status::pending(observed));
        return decision;
    }
    let groups = match group(observed) {
        Ok(groups) => groups,
        Err(flaw) => {
            decision.status = Some(status::refused(observed, &flaw));
            announce_phase(observed, &mut decision);
            return decision;
        }
    };
    let started = go_on(observed, &groups, &mut decision);
    let phase = match groups.is_over() {
        false => UpdateOpsPhase::Updating,
        true if groups.failed.is_empty() && groups.unfit.is_empty() => UpdateOpsPhase::Completed,
        true => UpdateOpsPhase::Failed,
    };
    decision.status = Some(status::counted(observed, &groups, started, phase));
    announce_phase(observed, &mut decision);
    decision
}

fn group<'a>(observed: &Observed<'a>) -> Result<Groups<'a>, String> {
    let operation = observed.operation;
    if let Some(flaw) = template::flaw(operation) {
        return Err(flaw);
    }
    let selector = Selector::try_from(operation.spec.selector.clone())
        .map_err(|error| format!("spec.selector can't be used: {error}"))?;
    let mut sandboxes: Vec<&Sandbox> = observed.sandboxes.iter().map(AsRef::as_ref).collect();
    sandboxes.retain(|it| selector.matches(it.labels()) || class::is_labelled(operation, it));
    sandboxes.sort_by_key(|sandbox| sandbox.name_any());
    let mut groups = Groups::default();
    for sandbox in sandboxes {
        match class::of(operation, sandbox) {
            Class::Skipped => {}
            Class::Pausing => groups.pausing += 1,
            Class::Candidate(template) => groups.candidates.push((sandbox, template)),
            Class::Updating => groups.updating += 1,
            Class::Woken(template) => groups.woken.push((sandbox, template)),
            Class::Updated { settled } => groups.updated.push((sandbox, settled)),
            Class::Failed { why, marked } => groups.failed.push((sandbox, why, marked)),
            Class::Unfit(why) => groups.unfit.push((sandbox, why)),
        }
    }
    Ok(groups)
}

/// Writes down what has ended, and begins what may begin; how many sandboxes that is.
fn go_on(observed: &Observed<'_>, groups: &Groups<'_>, decision: &mut OperationDecision) -> usize {
    let operation = observed.operation;
    let actions = &mut decision.actions;
    for (sandbox, settled) in &groups.updated {
        if !settled {
            actions.push(patch(sandbox, step::settle(sandbox), None));
        }
    }
    for (sandbox, why, marked) in &groups.failed {
        if !marked {
            let message = format!("Sandbox {} was not upgraded: {why}", sandbox.name_any());
            let event = Announcement::warning(events::SANDBOX_UPGRADE_FAILED, message);
            actions.push(patch(sandbox, step::mark_failed(sandbox), Some(event)));
        }
    }
    let told = operation.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    for (sandbox, why) in &groups.unfit {
        let message = format!("Sandbox {} is left alone: {why}", sandbox.name_any());
        if !status::tells(&told, &sandbox.name_any()) {
            decision.events.push(Announcement::warning(events::PATCH_FAILED, message));
        }
    }
    if operation.spec.paused {
        return 0;
    }
    for (sandbox, template) in &groups.woken {
        actions.push(patch(sandbox, step::give_template(sandbox, template), None));
    }
    let started = groups.candidates.iter().take(groups.budget(operation));
    for (sandbox, template) in started.clone() {
        let message = format!("Sandbox {} is being upgraded", sandbox.name_any());
        let event = Announcement::normal(events::SANDBOX_UPGRADING, message);
        actions.push(patch(sandbox, step::start(operation, sandbox, template), Some(event)));
    }
    started.count()
}

fn patch(sandbox: &Sandbox, patch: Value, event: Option<Announcement>) -> OperationAction {
    OperationAction::Patch { sandbox: sandbox.name_any(), patch, event }
}

/// A deleted operation goes once no sandbox bears its name.
fn release(observed: &Observed<'_>, has_finalizer: bool) -> OperationDecision {
    let of_it = |sandbox: &&Arc<Sandbox>| {
        class::is_labelled(observed.operation, sandbox) && sandbox.metadata.deletion_timestamp.is_none()
    };
    let held = observed.sandboxes.iter().filter(of_it);
    let mut actions: Vec<_> = held.map(|sandbox| patch(sandbox, step::release(sandbox), None)).collect();
    if actions.is_empty() && has_finalizer {
        actions.push(OperationAction::DropFinalizer);
    }
    OperationDecision { actions, ..OperationDecision::default() }
}

fn announce_phase(observed: &Observed<'_>, decision: &mut OperationDecision) {
    let before = observed.operation.status.as_ref().and_then(|status| status.phase);
    let Some(status) = &decision.status else { return };
    let Some(phase) = status.phase.filter(|phase| before != Some(*phase)) else { return };
    let message = format!(
        "phase changed from {} to {}: total {}, updated {}, updating {}, failed {}",
        before.unwrap_or(UpdateOpsPhase::Pending).as_str(),
        phase.as_str(),
        status.replicas,
        status.updated_replicas,
        status.updating_replicas,
        status.failed_replicas,
    );
    let reason = events::SANDBOX_UPDATE_OPS_PHASE_CHANGED;
    decision.events.push(match phase {
        UpdateOpsPhase::Failed => Announcement::warning(reason, message),
        _ => Announcement::normal(reason, message),
    });
}
