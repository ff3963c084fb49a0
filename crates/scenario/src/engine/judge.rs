//! Expectations that are asked of the journal: of what happened, not of samples.

use std::time::Duration;

use journal::Journal;
use tokio::time::Instant;

use super::failure::{Failure, closest, line, recent};
use crate::matching::{CompiledPattern, Difference};
use crate::model::{Count, Eventually, Holds, Order, Pattern};

/// Whether an expectation holds; if not, why.
pub(super) type Judgement = Result<(), Box<Failure>>;

/// Waits for an entry, past ones included.
pub(super) async fn eventually(
    journal: &Journal,
    expectation: &Eventually,
    usual: Duration,
    part: &str,
    place: &str,
) -> Judgement {
    let pattern = CompiledPattern::new(&expectation.entry);
    let limit = expectation.within.map_or(usual, |within| within.0);
    let mut follower = journal.follow(0);
    let waiting = async { while !pattern.matches(&*follower.next().await) {} };
    if tokio::time::timeout(limit, waiting).await.is_ok() {
        return Ok(());
    }
    let words = format!("{} did not come within the limit `eventually` of {limit:?}", pattern.describe());
    let mut failure = Failure::new(part, place, words);
    failure.closest = closest(journal, &pattern);
    failure.entries = recent(journal, &[]);
    Err(failure.into())
}

/// No entry may be like this.
pub(super) fn never(journal: &Journal, pattern: &Pattern, part: &str, place: &str) -> Judgement {
    let pattern = CompiledPattern::new(pattern);
    let entries = journal.entries();
    let Some(entry) = entries.iter().find(|entry| pattern.matches(entry)) else { return Ok(()) };
    let first = entries.first().unwrap_or(entry);
    let number = entries.iter().filter(|entry| pattern.matches(entry)).count();
    let words = format!(
        "{} must never be, it was {number} times; the first: {}",
        pattern.describe(),
        line(entry, first)
    );
    let mut failure = Failure::new(part, place, words);
    failure.entries = recent(journal, &[name_of(&entry.subject)]);
    Err(failure.into())
}

/// Entries have to come this often.
pub(super) fn count(journal: &Journal, expectation: &Count, part: &str, place: &str) -> Judgement {
    let pattern = CompiledPattern::new(&expectation.entry);
    let entries = journal.entries();
    let found: Vec<_> = entries.iter().filter(|entry| pattern.matches(entry)).collect();
    let number = found.len() as u64;
    let mut wanted = Vec::new();
    let mut holds = true;
    let bounds = [
        ("exactly", expectation.exactly, expectation.exactly.is_none_or(|bound| number == bound)),
        ("at least", expectation.at_least, expectation.at_least.is_none_or(|bound| number >= bound)),
        ("at most", expectation.at_most, expectation.at_most.is_none_or(|bound| number <= bound)),
    ];
    for (words, bound, fits) in bounds {
        wanted.extend(bound.map(|bound| format!("{words} {bound}")));
        holds &= fits;
    }
    if holds {
        return Ok(());
    }
    let mut failure =
        Failure::new(part, place, format!("{} came the wrong number of times", pattern.describe()));
    failure.differences.push(Difference {
        path: "times".into(),
        expected: wanted.join(", "),
        actual: number.to_string(),
    });
    let first = entries.first();
    failure.entries =
        found.iter().rev().take(10).rev().filter_map(|entry| Some(line(entry, first?))).collect();
    if found.is_empty() {
        failure.closest = closest(journal, &pattern);
    }
    Err(failure.into())
}

/// Entries have to come one after the other.
pub(super) fn order(journal: &Journal, expectation: &Order, part: &str, place: &str) -> Judgement {
    let entries = journal.entries();
    let mut from = 0;
    let mut before = "the start".to_owned();
    for pattern in &expectation.entries {
        let pattern = CompiledPattern::new(pattern);
        if let Some(at) = entries[from..].iter().position(|entry| pattern.matches(entry)) {
            from += at + 1;
            before = pattern.describe();
            continue;
        }
        let earlier = entries[..from].iter().rfind(|entry| pattern.matches(entry));
        let words = match earlier {
            Some(entry) => format!(
                "{} must come after {before}, it came before: {}",
                pattern.describe(),
                line(entry, &entries[0])
            ),
            None => format!("{} must come after {before}, it never came", pattern.describe()),
        };
        let mut failure = Failure::new(part, place, words);
        failure.closest = closest(journal, &pattern);
        return Err(failure.into());
    }
    Ok(())
}

/// A state has to last: the last entry about the subject has it, and so has every one that comes meanwhile.
pub(super) async fn holds(journal: &Journal, expectation: &Holds, part: &str, place: &str) -> Judgement {
    let pattern = CompiledPattern::new(&expectation.entry);
    let broken = |words: String| {
        let mut failure = Failure::new(part, place, words);
        failure.closest = closest(journal, &pattern);
        failure.entries = recent(journal, &[]);
        Box::new(failure)
    };
    let entries = journal.entries();
    let state = entries.iter().rfind(|entry| pattern.is_about(entry));
    match state {
        None => return Err(broken(format!("nothing is known of {}", pattern.describe()))),
        Some(entry) if !pattern.matches(entry) => {
            return Err(broken(format!("{} does not hold to begin with", pattern.describe())));
        }
        Some(_) => {}
    }
    let end = Instant::now() + expectation.period.0;
    let mut follower = journal.follow(entries.len() as u64);
    while let Ok(entry) = tokio::time::timeout_at(end, follower.next()).await {
        if pattern.is_about(&entry) && !pattern.matches(&entry) {
            let words = format!(
                "{} did not hold for {}: {}",
                pattern.describe(),
                expectation.period,
                line(&entry, entries.first().unwrap_or(&entry))
            );
            return Err(broken(words));
        }
    }
    Ok(())
}

fn name_of(subject: &str) -> String {
    subject.rsplit('/').next().unwrap_or(subject).to_owned()
}
