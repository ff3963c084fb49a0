//! What a SandboxSet needs, as a pure function (`kubernetes.md` §3.1, §3.2, §3.5).

use std::sync::Arc;

use contract::crd::{DEFAULT_UPDATE_BUDGET, Sandbox, SandboxSet, SandboxSetStatus};
use contract::names::{labels, pool_selector};
use contract::state::{SandboxState, derive};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use super::{conditions, victims};

/// What is known about a set when a plan is made.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The set.
    pub set: &'a SandboxSet,
    /// Every Sandbox that it controls.
    pub members: &'a [Arc<Sandbox>],
    /// Creations issued and not seen yet.
    pub unseen_creations: usize,
    /// UIDs of members whose deletion was issued and not seen yet.
    pub unseen_deletions: &'a [String],
    /// Revision that members should have.
    pub revision: &'a str,
    /// Name of the `SandboxTemplate` in use.
    pub template_name: &'a str,
    /// Why the set's template can't be used, and `revision` and `template_name` are those of before: nothing is
    /// created or replaced then.
    pub obstacle: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

/// What to do about a set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Sandboxes to create.
    pub create: usize,
    /// Dead members to delete.
    pub dead: Vec<Arc<Sandbox>>,
    /// Surplus members to lock and delete, in this order.
    pub scale_down: Vec<Arc<Sandbox>>,
    /// Outdated members to lock and delete, in this order.
    pub roll: Vec<Arc<Sandbox>>,
    /// The status as it should be.
    pub status: SandboxSetStatus,
    /// When a member expires.
    pub wake_at: Option<Timestamp>,
}

/// Members by state.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) creating: Vec<Arc<Sandbox>>,
    pub(super) available: Vec<Arc<Sandbox>>,
    dead: Vec<Arc<Sandbox>>,
}

/// Makes the plan.
pub fn plan(observed: &Observed<'_>) -> Plan {
    let groups = group(observed);
    let mut status = status(observed, &groups);
    conditions::write(&mut status, observed, &groups);
    let can_build = observed.obstacle.is_none();
    let settled = observed.unseen_creations == 0 && observed.unseen_deletions.is_empty();
    let surplus = usize::try_from(status.replicas - observed.set.spec.replicas.max(0)).unwrap_or(0);
    let mut plan = Plan { dead: groups.dead.clone(), ..Plan::default() };
    if can_build {
        plan.create = missing(observed, &status);
    }
    if settled && surplus > 0 {
        plan.scale_down = victims::surplus(&groups, observed.revision, surplus);
    }
    if settled && surplus == 0 && can_build {
        let is_full = status.replicas == observed.set.spec.replicas;
        plan.roll = outdated(observed, &groups, is_full);
    }
    plan.wake_at = next_expiry(observed);
    plan.status = status;
    plan
}

fn group(observed: &Observed<'_>) -> Groups {
    let mut groups = Groups::default();
    for member in observed.members {
        let going = member.metadata.deletion_timestamp.is_some()
            || member.uid().is_some_and(|uid| observed.unseen_deletions.contains(&uid));
        if going {
            continue;
        }
        match derive(member, observed.now) {
            SandboxState::Creating => groups.creating.push(Arc::clone(member)),
            SandboxState::Available => groups.available.push(Arc::clone(member)),
            SandboxState::Dead => groups.dead.push(Arc::clone(member)),
            // no member is running or paused: those states are for sandboxes without a set
            SandboxState::Running | SandboxState::Paused => {}
        }
    }
    groups
}

fn status(observed: &Observed<'_>, groups: &Groups) -> SandboxSetStatus {
    let count = |sandboxes: &[Arc<Sandbox>]| i32::try_from(sandboxes.len()).unwrap_or(i32::MAX);
    let updated = |sandboxes: &[Arc<Sandbox>]| {
        let updated = sandboxes.iter().filter(|sandbox| is_updated(sandbox, observed.revision));
        i32::try_from(updated.count()).unwrap_or(i32::MAX)
    };
    let unseen = i32::try_from(observed.unseen_creations).unwrap_or(i32::MAX);
    let set = observed.set;
    SandboxSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(&groups.creating) + count(&groups.available) + unseen,
        available_replicas: count(&groups.available),
        update_revision: named(observed.revision),
        current_revision: named(observed.template_name),
        updated_replicas: Some(updated(&groups.creating) + updated(&groups.available) + unseen),
        updated_available_replicas: Some(updated(&groups.available)),
        selector: Some(pool_selector(&set.name_any())),
        conditions: set.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default(),
    }
}

/// Nothing for a set that never had a template.
fn named(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}

/// How many to create: what is missing, but no more unready ones at a time than the set allows.
fn missing(observed: &Observed<'_>, status: &SandboxSetStatus) -> usize {
    let spec = &observed.set.spec;
    let missing = spec.replicas - status.replicas;
    let limit = spec.scale_strategy.as_ref().and_then(|strategy| strategy.max_unavailable.as_ref());
    let allowed = limit
        .and_then(|limit| scaled(limit, spec.replicas))
        .map_or(missing, |limit| missing.min(limit - (status.replicas - status.available_replicas)));
    usize::try_from(allowed).unwrap_or(0)
}

/// §3.5: outdated members that are still being created go at once, available ones oldest first within the budget and
/// only from a full pool. Those being created go while others are missing too: they may never become ready and use up
/// the limit of scaling up.
fn outdated(observed: &Observed<'_>, groups: &Groups, is_full: bool) -> Vec<Arc<Sandbox>> {
    let is_outdated = |sandbox: &&Arc<Sandbox>| !is_updated(sandbox, observed.revision);
    let creating = groups.creating.iter().filter(is_outdated).cloned();
    let mut available: Vec<_> = groups.available.iter().filter(is_outdated).cloned().collect();
    available.sort_by_key(|sandbox| victims::age(&**sandbox));
    let spec = &observed.set.spec;
    let default = IntOrString::String(DEFAULT_UPDATE_BUDGET.to_owned());
    let limit = spec.update_strategy.as_ref().and_then(|strategy| strategy.max_unavailable.as_ref());
    let budget = scaled(limit.unwrap_or(&default), spec.replicas).unwrap_or(1);
    let unready = groups.creating.iter().filter(|sandbox| is_updated(sandbox, observed.revision)).count();
    let budget = if is_full { usize::try_from(budget).unwrap_or(0).saturating_sub(unready) } else { 0 };
    creating.chain(available.into_iter().take(budget)).collect()
}

fn next_expiry(observed: &Observed<'_>) -> Option<Timestamp> {
    let deadlines = observed.members.iter().filter_map(|member| Some(member.spec.shutdown_time.as_ref()?.0));
    let next = deadlines.filter(|deadline| *deadline >= observed.now).min()?;
    next.checked_add(SignedDuration::from_millis(1)).ok()
}

/// Whether `sandbox` was built from `revision`.
pub(super) fn is_updated(sandbox: &Sandbox, revision: &str) -> bool {
    sandbox.labels().get(labels::TEMPLATE_HASH).is_some_and(|hash| hash == revision)
}

/// A number, or a percentage of `total` rounded up; nothing when it is neither.
pub(crate) fn scaled(value: &IntOrString, total: i32) -> Option<i32> {
    match value {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.trim().parse().ok()?;
            let part = (percent * i64::from(total)).checked_add(99)? / 100;
            i32::try_from(part).ok()
        }
    }
}
