//! Which scenarios of a run may be up at once.
//!
//! On a backend whose labs share servers or the system ([`Backend::shared`](lab::Backend::shared)), a scenario that takes such
//! a part away waits until nobody uses it, and meanwhile nobody who would begins. What goes with some others begins first, so
//! that those run beside it; what goes with none comes last.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lab::{SharedPart, Sharing};

use super::needs;
use crate::read::Planned;

/// A scenario that waits for its turn.
pub(super) struct Waiting<'a> {
    /// Its place in the run.
    pub(super) number: usize,
    pub(super) planned: &'a Planned,
    pub(super) sharing: Sharing,
}

/// The scenarios of a run in the order in which they are looked at.
pub(super) fn in_order<'a>(chosen: Vec<&'a Planned>, shared: &[SharedPart]) -> Vec<Waiting<'a>> {
    let waiting = |(number, planned): (usize, &'a Planned)| Waiting {
        number,
        planned,
        sharing: needs::sharing(planned).of(shared),
    };
    let mut waiting: Vec<_> = chosen.into_iter().enumerate().map(waiting).collect();
    let ranks: Vec<u8> = waiting.iter().map(|one| rank(one, &waiting)).collect();
    waiting.sort_by_key(|one| ranks[one.number]);
    waiting
}

fn rank(one: &Waiting<'_>, all: &[Waiting<'_>]) -> u8 {
    let goes_with_some =
        || all.iter().any(|other| other.number != one.number && one.sharing.goes_with(&other.sharing));
    match one.sharing.disturbs.is_empty() {
        true => 1,
        false if goes_with_some() => 0,
        false => 2,
    }
}

/// Runs every scenario, at most `jobs` at once and only what gets along, and gives back what came of each, with its number.
pub(super) async fn run_all<'a, T, F: Future<Output = T>>(
    mut waiting: Vec<Waiting<'a>>,
    jobs: usize,
    start: impl Fn(&'a Planned, Sharing) -> F,
) -> Vec<(usize, T)> {
    let mut results = Vec::new();
    let mut up: Vec<(usize, Sharing)> = Vec::new();
    let mut running = FuturesUnordered::new();
    loop {
        while up.len() < jobs.max(1)
            && let Some(next) =
                waiting.iter().position(|one| up.iter().all(|(_, other)| one.sharing.goes_with(other)))
        {
            let Waiting { number, planned, sharing } = waiting.remove(next);
            up.push((number, sharing.clone()));
            let scenario = start(planned, sharing);
            running.push(async move { (number, scenario.await) });
        }
        let Some((number, result)) = running.next().await else { return results };
        up.retain(|(other, _)| *other != number);
        results.push((number, result));
    }
}
