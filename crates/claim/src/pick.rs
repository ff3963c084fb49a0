//! Which pooled sandbox to take.

use std::sync::Arc;

use contract::crd::{Sandbox, SandboxSet};
use contract::names::{annotations, labels};
use contract::state::{self, SandboxState};
use kube::ResourceExt as _;
use rand::Rng as _;

use crate::{Busy, Claimer, annotation, label};

/// How many candidates are looked at, at most.
const LONGEST: usize = 100;

/// Picks an available sandbox of `set` that nobody else of this claimer is taking: those of the set's newest revision
/// first, among them from a random one on, so that several claimers don't all want the same.
pub(crate) fn pick(claimer: &Claimer, set: &SandboxSet) -> Option<(Arc<Sandbox>, Busy)> {
    let (current, outdated) = candidates(claimer, set);
    [current, outdated].into_iter().find_map(|candidates| {
        let start = if candidates.is_empty() { 0 } else { rand::rng().random_range(0..candidates.len()) };
        let (before, after) = candidates.split_at(start);
        after.iter().chain(before).find_map(|sandbox| {
            let busy = claimer.enter(&sandbox.uid()?)?;
            Some((sandbox.clone(), busy))
        })
    })
}

impl Claimer {
    /// How many sandboxes of `set` could be handed out now.
    pub fn available(&self, set: &SandboxSet) -> usize {
        let (current, outdated) = candidates(self, set);
        current.len() + outdated.len()
    }
}

/// The sandboxes that can be taken, oldest first: those of the newest revision, and the others.
fn candidates(claimer: &Claimer, set: &SandboxSet) -> (Vec<Arc<Sandbox>>, Vec<Arc<Sandbox>>) {
    let now = claimer.now();
    let (name, namespace, uid) = (set.name_any(), set.namespace(), set.uid());
    let mut available = claimer.sandboxes().select(|sandbox| {
        label(sandbox, labels::SANDBOX_POOL) == Some(name.as_str())
            && sandbox.namespace() == namespace
            && state::owning_set(sandbox).is_some_and(|owner| Some(&owner.uid) == uid.as_ref())
            && state::derive(sandbox, now) == SandboxState::Available
            && annotation(sandbox, annotations::LOCK).is_none_or(str::is_empty)
            && state::pod_ip(sandbox).is_some()
    });
    available.sort_by_key(|sandbox| (sandbox.creation_timestamp().map(|time| time.0), sandbox.name_any()));
    let newest = set.status.as_ref().and_then(|status| status.update_revision.clone());
    let is_current = |sandbox: &Arc<Sandbox>| {
        newest.is_none() || label(sandbox, labels::TEMPLATE_HASH) == newest.as_deref()
    };
    let (mut current, mut outdated): (Vec<_>, Vec<_>) = available.into_iter().partition(is_current);
    current.truncate(LONGEST);
    outdated.truncate(LONGEST - current.len());
    (current, outdated)
}
