//! The product document's example with the official JavaScript SDK.
#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use serde_json::json;
use system_tests::{Up, environment, run};

/// How long the script may take.
const SCRIPT_LIMIT: Duration = Duration::from_mins(2);

#[test]
fn the_document_example() {
    let lab = Up::start();
    lab.set_up_document_example();
    let mut command = environment::javascript(&["@e2b/code-interpreter"], "document_example.mjs");
    let mut seen = run(command.envs(lab.variables()), SCRIPT_LIMIT).json();
    let refusal = seen["refusal"].take();
    let refusal = refusal.as_str().expect("a refusal");
    assert!(refusal.contains("400") && refusal.contains("no-such-volume"), "{refusal}");
    let expected = json!({
        "cat": "hello from JavaScript\n",
        "read": "hello from JavaScript\n",
        "listed": ["hello.txt"],
        "running": true,
        "killed": true,
        "runningAfterKill": false,
        "refusal": null,
    });
    assert_eq!(seen, expected);
}
