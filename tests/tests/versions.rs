//! The program says which version it is, and it is one that the product document allows (R1, R2).
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::process::Command;
use std::time::Duration;

use rstest::rstest;
use system_tests::{program, run};

/// How long the program may take to say its version.
const LIMIT: Duration = Duration::from_secs(30);

/// Major, minor and patch of a semantic version of a release.
fn parse(version: &str) -> [u64; 3] {
    let number = |text: &str| {
        assert!(text == "0" || !text.starts_with('0'), "a number has no leading zero: {version}");
        text.parse().unwrap_or_else(|error| panic!("{text:?} in {version:?}: {error}"))
    };
    let numbers: Vec<u64> = version.split('.').map(number).collect();
    numbers.try_into().unwrap_or_else(|numbers| panic!("{version:?} has not three numbers: {numbers:?}"))
}

// controller and manager are parts of one program, so they share its version
#[rstest]
#[case::controller([0, 5, 10])]
#[case::manager([0, 5, 0])]
fn the_version_is_recent_enough(#[case] oldest: [u64; 3]) {
    let said = run(Command::new(program()).arg("--version"), LIMIT).expect_success();
    let version = said.trim_end().strip_prefix("mountlab ").unwrap_or_else(|| panic!("said {said:?}"));
    assert!(parse(version) >= oldest, "{version} is older than {oldest:?}");
}
