//! Two reports side by side.

use std::collections::BTreeMap;

use crate::story::Times;
use crate::{Reasons, Report, Run, Story, Stream};

/// Which of the two reports.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Side {
    /// The first.
    Left,
    /// The second.
    Right,
}

impl Side {
    /// `first` or `second`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "first",
            Self::Right => "second",
        }
    }
}

/// One line that only one side has, or has more often.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// Of which stream.
    pub stream: Stream,
    /// The side that has it.
    pub side: Side,
    /// The line, normalised.
    pub line: String,
    /// How many more of it this side has; at least 1.
    pub more: usize,
    /// Why that is right, where the file of reasons says so.
    pub reason: Option<String>,
}

/// How a scenario ended on both sides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdicts {
    /// The same on both.
    Same(String),
    /// It was not run on one side at least, for a reason that was named.
    NotRun {
        /// The first side's verdict and reason.
        left: String,
        /// The second side's.
        right: String,
    },
    /// Not the same.
    Different {
        /// The first side's.
        left: String,
        /// The second side's.
        right: String,
    },
    /// Only one report has the scenario.
    Only(Side),
}

impl Verdicts {
    /// The first side's and the second's, none for a side whose report lacks the scenario.
    pub fn both(&self) -> [Option<&str>; 2] {
        match self {
            Self::Same(verdict) => [Some(verdict), Some(verdict)],
            Self::NotRun { left, right } | Self::Different { left, right } => [Some(left), Some(right)],
            Self::Only(Side::Left) => [Some("run"), None],
            Self::Only(Side::Right) => [None, Some("run")],
        }
    }
}

/// One scenario on both sides.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub verdicts: Verdicts,
    /// What went differently, explained or not.
    pub differences: Vec<Difference>,
    /// How many lines both sides share.
    pub shared: usize,
    /// How long it took on each side, in seconds.
    pub seconds: [Option<f64>; 2],
}

impl Pair {
    /// Whether nothing is left unexplained.
    pub fn holds(&self) -> bool {
        matches!(self.verdicts, Verdicts::Same(_) | Verdicts::NotRun { .. })
            && self.differences.iter().all(|difference| difference.reason.is_some())
    }
}

/// The whole comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The backends' names.
    pub backends: [String; 2],
    /// The scenarios, in the order of the first report.
    pub pairs: Vec<Pair>,
    /// Reasons that explained nothing although their scenario was compared, as `scenario/stream: line`.
    pub unused: Vec<String>,
}

impl Comparison {
    /// Whether every difference is explained and every explanation is needed.
    pub fn holds(&self) -> bool {
        self.unused.is_empty() && self.pairs.iter().all(Pair::holds)
    }
}

/// Compares two reports; `reasons` says which differences are right.
pub fn compare(left: &Report, right: &Report, reasons: &Reasons) -> Comparison {
    let of_right: BTreeMap<&str, &Run> = right.runs.iter().map(|run| (run.name.as_str(), run)).collect();
    let of_left: BTreeMap<&str, &Run> = left.runs.iter().map(|run| (run.name.as_str(), run)).collect();
    let mut used = vec![false; reasons.len()];
    let mut compared = Vec::new();
    let mut pairs: Vec<Pair> = left
        .runs
        .iter()
        .map(|run| match of_right.get(run.name.as_str()) {
            Some(other) => {
                compared.push(run.name.as_str());
                pair(run, other, reasons, &mut used)
            }
            None => only(run, Side::Left),
        })
        .collect();
    let extra = right.runs.iter().filter(|run| !of_left.contains_key(run.name.as_str()));
    pairs.extend(extra.map(|run| only(run, Side::Right)));
    let unused = reasons.unused(&used, &compared);
    Comparison { backends: [left.backend.clone(), right.backend.clone()], pairs, unused }
}

fn pair(left: &Run, right: &Run, reasons: &Reasons, used: &mut [bool]) -> Pair {
    let words = |run: &Run| match &run.reason {
        Some(reason) => format!("{}: {reason}", run.verdict),
        None => run.verdict.clone(),
    };
    let run_on_both = left.reason.is_none() && right.reason.is_none();
    let verdicts = if !run_on_both {
        Verdicts::NotRun { left: words(left), right: words(right) }
    } else if left.verdict == right.verdict {
        Verdicts::Same(left.verdict.clone())
    } else {
        Verdicts::Different { left: words(left), right: words(right) }
    };
    let (mut differences, mut shared) = (Vec::new(), 0);
    if run_on_both {
        let stories = [Story::of(left), Story::of(right)];
        for stream in Stream::ALL {
            let (found, same) = differ(stream, &stories[0], &stories[1]);
            differences.extend(found);
            shared += same;
        }
        for difference in &mut differences {
            difference.reason = reasons.explain(&left.name, difference, used);
        }
    }
    let seconds = [Some(left.seconds), Some(right.seconds)];
    Pair { name: left.name.clone(), verdicts, differences, shared, seconds }
}

fn only(run: &Run, side: Side) -> Pair {
    let seconds = match side {
        Side::Left => [Some(run.seconds), None],
        Side::Right => [None, Some(run.seconds)],
    };
    let verdicts = Verdicts::Only(side);
    Pair { name: run.name.clone(), verdicts, differences: Vec::new(), shared: 0, seconds }
}

/// What one stream's lines differ in, and how many they share.
fn differ(stream: Stream, left: &Story, right: &Story) -> (Vec<Difference>, usize) {
    let mut shared = 0;
    let mut differences = Vec::new();
    let extra = right.lines(stream).filter(|(line, _)| left.times(stream, line) == Times::default());
    for (line, _) in left.lines(stream).chain(extra) {
        let (ours, theirs) = (left.times(stream, line), right.times(stream, line));
        shared += ours.possible.min(theirs.possible);
        let (side, more) = if ours.certain > theirs.possible {
            (Side::Left, ours.certain - theirs.possible)
        } else if theirs.certain > ours.possible {
            (Side::Right, theirs.certain - ours.possible)
        } else {
            continue;
        };
        differences.push(Difference { stream, side, line: line.to_owned(), more, reason: None });
    }
    (differences, shared)
}
