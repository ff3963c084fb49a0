//! Who goes first when a pool shrinks (`kubernetes.md` §3.4).

use std::cmp::Reverse;
use std::sync::Arc;

use contract::crd::{Sandbox, SandboxPhase};
use jiff::Timestamp;
use kube::{Resource, ResourceExt as _};

use super::plan::{Groups, is_updated};

/// The first `count` of all members in the order of removal: outdated ones (creating, then available), then current
/// ones by tier; ties: oldest first.
pub(super) fn surplus(groups: &Groups, revision: &str, count: usize) -> Vec<Arc<Sandbox>> {
    let creating = groups.creating.iter().map(|sandbox| (sandbox, false));
    let available = groups.available.iter().map(|sandbox| (sandbox, true));
    let mut ordered: Vec<_> = creating
        .chain(available)
        .map(|(sandbox, is_available)| (rank(sandbox, is_available, revision), Arc::clone(sandbox)))
        .collect();
    ordered.sort_by(|left, right| left.0.cmp(&right.0));
    ordered.into_iter().take(count).map(|(_, sandbox)| sandbox).collect()
}

/// Creation time and name, the tie break.
pub(super) fn age<K: Resource>(object: &K) -> (Timestamp, String) {
    (object.creation_timestamp().map_or(Timestamp::MAX, |time| time.0), object.name_any())
}

/// Outdated before current; then the tier; within the recycled ones the most recycled; then age.
fn rank(
    sandbox: &Sandbox,
    is_available: bool,
    revision: &str,
) -> (bool, u8, Reverse<i32>, (Timestamp, String)) {
    let current = is_updated(sandbox, revision);
    let status = sandbox.status.as_ref();
    let recycled = status.and_then(|status| status.recycled_count).unwrap_or(0);
    let pending =
        status.is_none_or(|status| matches!(status.phase, SandboxPhase::None | SandboxPhase::Pending));
    let (tier, recycled) = match (current, is_available) {
        (false, available) => (u8::from(available), 0),
        (true, false) if pending => (0, 0),
        (true, true) if recycled > 0 => (1, recycled),
        (true, false) => (2, 0),
        (true, true) => (3, 0),
    };
    (current, tier, Reverse(recycled), age(sandbox))
}
