//! Which scenarios of a run may be up at once.
//!
//! On a backend whose labs share the system ([`Backend::shared`](lab::Backend::shared)), a scenario that takes such a part away
//! begins beside others, with its objects and its warm pools. Before its first step it asks for its turn, waits until nobody
//! uses that part any more, and meanwhile nobody who would begins; scenarios that wait likewise have nothing under way, so
//! they are no obstacle. When it is through and everything as before, the next has its turn.
//!
//! What goes with some others begins first, so that those run beside it; what goes with none comes last.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lab::{SharedPart, Sharing};
use tokio::sync::{mpsc, oneshot};

use super::needs;
use crate::read::Planned;

/// A scenario that waits for its beginning.
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

/// How a scenario deals with the others.
pub(super) struct Place {
    number: usize,
    said: mpsc::UnboundedSender<(usize, Word)>,
}

/// What a scenario says to the run.
enum Word {
    /// It wants to disturb.
    MayI(oneshot::Sender<()>),
    /// It doesn't disturb any more, and uses nothing of what it disturbed.
    Settled,
    /// Another may begin in its place.
    GivenUp,
}

impl Place {
    /// Waits until this scenario may disturb what it disturbs.
    pub(super) async fn turn(&self) {
        let (sender, turn) = oneshot::channel();
        self.say(Word::MayI(sender));
        // Given up with the run.
        let _ = turn.await;
    }

    /// What was disturbed is as before.
    pub(super) fn settled(&self) {
        self.say(Word::Settled);
    }

    /// Another scenario may begin, though this one isn't down. What it uses it uses on.
    pub(super) fn give_up(self) {
        self.say(Word::GivenUp);
    }

    fn say(&self, word: Word) {
        // Nobody listens when the run is over.
        let _ = self.said.send((self.number, word));
    }
}

/// A scenario that began and isn't down.
struct Begun {
    number: usize,
    sharing: Sharing,
    has_place: bool,
    stage: Stage,
}

/// How far a scenario is with what it disturbs.
enum Stage {
    /// It may come to that; one that disturbs nothing stays here.
    Before,
    Asks(oneshot::Sender<()>),
    Disturbs,
}

impl Begun {
    /// Whether a scenario may begin beside this one.
    fn lets_begin(&self, other: &Sharing) -> bool {
        let uses_it = !self.sharing.disturbs.is_disjoint(&other.uses);
        match self.stage {
            Stage::Before => true,
            // One that will ask as well is no obstacle for long; everybody else would be.
            Stage::Asks(_) => !uses_it || !other.disturbs.is_empty(),
            Stage::Disturbs => !uses_it,
        }
    }

    /// Whether a scenario that asks may disturb now.
    fn lets_disturb(&self, other: &Sharing) -> bool {
        match self.stage {
            Stage::Before => other.disturbs.is_disjoint(&self.sharing.uses),
            Stage::Asks(_) => true,
            Stage::Disturbs => self.sharing.goes_with(other),
        }
    }

    fn hears(&mut self, word: Word) {
        match word {
            Word::MayI(turn) => self.stage = Stage::Asks(turn),
            Word::Settled => {
                let disturbed = std::mem::take(&mut self.sharing.disturbs);
                self.sharing.uses.retain(|part| !disturbed.contains(part));
                self.stage = Stage::Before;
            }
            Word::GivenUp => self.has_place = false,
        }
    }

    fn is_at_work(&self) -> bool {
        self.has_place && !matches!(self.stage, Stage::Asks(_))
    }
}

/// The scenarios that began, in that order.
#[derive(Default)]
struct Company(Vec<Begun>);

impl Company {
    fn lets_begin(&self, other: &Sharing) -> bool {
        self.0.iter().all(|one| one.lets_begin(other))
    }

    /// Gives everybody who asks, and may, the turn.
    fn give_turns(&mut self) {
        for place in 0..self.0.len() {
            let one = &self.0[place];
            let others = self.0.iter().filter(|other| other.number != one.number);
            if !matches!(one.stage, Stage::Asks(_))
                || !others.into_iter().all(|other| other.lets_disturb(&one.sharing))
            {
                continue;
            }
            if let Stage::Asks(turn) = std::mem::replace(&mut self.0[place].stage, Stage::Disturbs) {
                // It may have been stopped meanwhile.
                let _ = turn.send(());
            }
        }
    }
}

/// Runs every scenario, at most `jobs` at once and only what gets along, and gives back what came of each, with its number.
/// Of those that gave up their places or wait for their turns there are as many at most.
pub(super) async fn run_all<'a, T, F: Future<Output = T>>(
    mut waiting: Vec<Waiting<'a>>,
    jobs: usize,
    start: impl Fn(&'a Planned, Sharing, Place) -> F,
) -> Vec<(usize, T)> {
    let jobs = jobs.max(1);
    let mut results = Vec::new();
    let mut company = Company::default();
    let mut running = FuturesUnordered::new();
    let (said, mut words) = mpsc::unbounded_channel();
    loop {
        company.give_turns();
        while company.0.iter().filter(|one| one.is_at_work()).count() < jobs
            && company.0.len() < 2 * jobs
            && let Some(next) = waiting.iter().position(|one| company.lets_begin(&one.sharing))
        {
            let Waiting { number, planned, sharing } = waiting.remove(next);
            company.0.push(Begun { number, sharing: sharing.clone(), has_place: true, stage: Stage::Before });
            let scenario = start(planned, sharing, Place { number, said: said.clone() });
            running.push(async move { (number, scenario.await) });
        }
        tokio::select! {
            biased;
            Some((number, word)) = words.recv() => {
                if let Some(one) = company.0.iter_mut().find(|one| one.number == number) {
                    one.hears(word);
                }
            }
            ended = running.next() => {
                let Some((number, result)) = ended else { return results };
                company.0.retain(|one| one.number != number);
                results.push((number, result));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    /// What scenarios did, in order.
    #[derive(Default)]
    struct Log(Mutex<Vec<String>>, Notify);

    impl Log {
        fn write(&self, number: usize, what: &str) {
            self.0.lock().expect("no panic").push(format!("{number} {what}"));
            self.1.notify_waiters();
        }

        fn lines(&self) -> Vec<String> {
            self.0.lock().expect("no panic").clone()
        }

        async fn until(&self, line: &str) {
            loop {
                let mut news = std::pin::pin!(self.1.notified());
                news.as_mut().enable();
                if self.lines().iter().any(|written| written == line) {
                    return;
                }
                news.await;
            }
        }
    }

    #[tokio::test]
    async fn who_disturbs_begins_beside_others_and_has_its_turn_when_they_are_gone_or_settled() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/oss-single-mount.yaml");
        let plan = crate::load(&[path]).expect("a scenario");
        let system = || [SharedPart::System].into();
        let user = Sharing { uses: system(), disturbs: [].into() };
        let disturber = Sharing { uses: system(), disturbs: system() };
        let kinds = [user.clone(), disturber.clone(), disturber, user];
        let waiting = kinds.into_iter().enumerate().map(|(number, sharing)| Waiting {
            number,
            planned: &plan.scenarios[0],
            sharing,
        });
        let log = Log::default();
        let start = |_, sharing: Sharing, place: Place| {
            let log = &log;
            async move {
                let number = place.number;
                log.write(number, "begins");
                match number {
                    // Ends only when both others have asked.
                    0 => log.until("2 begins").await,
                    // Goes down for as long as the other needs for its turn.
                    1 => {
                        place.turn().await;
                        log.write(number, "disturbs");
                        place.settled();
                        log.until("2 ends").await;
                    }
                    2 => {
                        log.until("1 begins").await;
                        place.turn().await;
                        log.write(number, "disturbs");
                    }
                    _ => {}
                }
                assert!(number == 1 || number == 2 || sharing.disturbs.is_empty());
                log.write(number, "ends");
            }
        };
        let all = run_all(waiting.collect(), 3, start);
        let results =
            tokio::time::timeout(Duration::from_secs(30), all).await.expect("nobody waits for ever");
        assert_eq!(results.len(), 4);
        let lines = log.lines();
        let place = |line: &str| lines.iter().position(|written| written == line).expect("written");
        assert!(place("2 begins") < place("0 ends"), "{lines:?}");
        assert!(place("0 ends") < place("1 disturbs"), "{lines:?}");
        assert!(place("1 disturbs") < place("2 disturbs") && place("2 ends") < place("1 ends"), "{lines:?}");
        assert!(place("2 disturbs") < place("3 begins"), "who asked is not kept waiting: {lines:?}");
    }
}
