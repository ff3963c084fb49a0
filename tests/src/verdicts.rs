//! What `mountlab run --output json` says.

use serde_json::Value;

use crate::Outcome;

/// Name and verdict of each scenario of a run, in the order of its files.
///
/// # Panics
/// When the run printed no summary; the message has everything that it said.
pub fn verdicts(outcome: &Outcome) -> Vec<(String, Value)> {
    let summary: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"));
    let scenarios = summary["scenarios"].as_array().expect("a list of scenarios");
    let name = |scenario: &Value| scenario["name"].as_str().expect("a name").to_owned();
    scenarios.iter().map(|scenario| (name(scenario), scenario["verdict"].clone())).collect()
}
