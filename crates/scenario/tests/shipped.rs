//! The scenarios that are shipped are right.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail hard")]

use std::path::Path;

#[test]
fn every_shipped_scenario_passes_the_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    match scenario::load(&[root]) {
        Ok(plan) => assert!(!plan.scenarios.is_empty()),
        Err(problems) => {
            let words: Vec<_> = problems.problems.iter().map(ToString::to_string).collect();
            panic!("{}", words.join("\n"));
        }
    }
}
