//! Which scenarios of a run may be up at once.
//!
//! On a backend whose labs share servers or the system ([`Backend::shared`](lab::Backend::shared)), a scenario that takes such
//! a part away waits until nobody uses it, and meanwhile nobody who would begins. What goes with some others begins first, so
//! that those run beside it; what goes with none comes last.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lab::{SharedPart, Sharing};
use tokio::sync::mpsc;

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

/// How a scenario that goes down gives its place to the next.
pub(super) struct Place {
    number: usize,
    given_up: mpsc::UnboundedSender<usize>,
}

impl Place {
    /// Another scenario may begin, though this one isn't down. What it uses it uses on.
    pub(super) fn give_up(self) {
        // Nobody takes a place when the run is over.
        let _ = self.given_up.send(self.number);
    }
}

/// A scenario that began and isn't down.
struct Begun {
    number: usize,
    sharing: Sharing,
    has_place: bool,
}

/// Runs every scenario, at most `jobs` at once and only what gets along, and gives back what came of each, with its number.
/// Of those that gave up their places there are as many at most.
pub(super) async fn run_all<'a, T, F: Future<Output = T>>(
    mut waiting: Vec<Waiting<'a>>,
    jobs: usize,
    start: impl Fn(&'a Planned, Sharing, Place) -> F,
) -> Vec<(usize, T)> {
    let jobs = jobs.max(1);
    let mut results = Vec::new();
    let mut begun: Vec<Begun> = Vec::new();
    let mut running = FuturesUnordered::new();
    let (given_up, mut places) = mpsc::unbounded_channel();
    loop {
        while begun.iter().filter(|one| one.has_place).count() < jobs
            && begun.len() < 2 * jobs
            && let Some(next) =
                waiting.iter().position(|one| begun.iter().all(|other| one.sharing.goes_with(&other.sharing)))
        {
            let Waiting { number, planned, sharing } = waiting.remove(next);
            begun.push(Begun { number, sharing: sharing.clone(), has_place: true });
            let scenario = start(planned, sharing, Place { number, given_up: given_up.clone() });
            running.push(async move { (number, scenario.await) });
        }
        tokio::select! {
            biased;
            Some(number) = places.recv() => {
                begun.iter_mut().filter(|one| one.number == number).for_each(|one| one.has_place = false);
            }
            ended = running.next() => {
                let Some((number, result)) = ended else { return results };
                begun.retain(|one| one.number != number);
                results.push((number, result));
            }
        }
    }
}
