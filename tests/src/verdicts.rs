//! What `mountlab run --output json` says.

use serde_json::Value;

use crate::Outcome;

/// Name and verdict of each scenario of a run, in the order of its files.
///
/// # Panics
/// When the run printed no summary; the message has everything that it said.
fn verdicts(outcome: &Outcome) -> Vec<(String, Value)> {
    let summary: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"));
    let scenarios = summary["scenarios"].as_array().expect("a list of scenarios");
    let name = |scenario: &Value| scenario["name"].as_str().expect("a name").to_owned();
    scenarios.iter().map(|scenario| (name(scenario), scenario["verdict"].clone())).collect()
}

/// Asserts that every scenario that was not skipped there came to the same verdict here, and that there are at least
/// `least` of them.
///
/// # Panics
/// When that isn't so.
pub fn assert_same_verdicts(there: &Outcome, here: &Outcome, least: usize) {
    let (there, here) = (verdicts(there), verdicts(here));
    assert_eq!(there.len(), here.len());
    let both = there.iter().zip(&here).filter(|(there, _)| there.1 != "skipped");
    let differing: Vec<_> = both.clone().filter(|(there, here)| there != here).collect();
    assert!(differing.is_empty(), "{differing:?}");
    assert!(both.count() >= least, "too little was replayed: {there:?}");
}
