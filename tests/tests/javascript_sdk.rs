//! The product document's example with the official JavaScript SDK, another image at create, and hibernation.
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
    lab.set_up_nas();
    let mut command = environment::javascript(&["@e2b/code-interpreter"], "document_example.mjs");
    let mut seen = run(command.envs(lab.variables()), SCRIPT_LIMIT).json();
    let refusal = seen["refusal"].take();
    let refusal = refusal.as_str().expect("a refusal");
    assert!(refusal.contains("400") && refusal.contains("no-such-volume"), "{refusal}");
    let raised = seen["pauseWithNas"].take();
    let raised = raised.as_array().expect("a list");
    for text in raised.iter().map(|text| text.as_str().expect("a text")) {
        assert!(text.starts_with("SandboxError: 400"), "{text}");
        assert!(text.contains("nas-pv-sandbox-system at /data-nas is NAS storage"), "{text}");
    }
    assert_eq!(raised.len(), 3, "pause, betaPause and the static pause");
    let expected = json!({
        "cat": "hello from JavaScript\n",
        "read": "hello from JavaScript\n",
        "listed": ["hello.txt"],
        "paused": true,
        "runningWhilePaused": false,
        "readAfterWakeUp": "hello from JavaScript\n",
        "readInAnotherImage": "hello from JavaScript\n",
        "pauseWithNas": null,
        "nasStillRunning": true,
        "running": true,
        "killed": true,
        "runningAfterKill": false,
        "refusal": null,
    });
    assert_eq!(seen, expected);
}

#[test]
fn snapshots() {
    let lab = Up::start();
    lab.set_up_document_example();
    let mut command = environment::javascript(&["@e2b/code-interpreter"], "snapshots.mjs");
    let mut seen = run(command.envs(lab.variables()), SCRIPT_LIMIT).json();
    let refusal = seen["refusal"].take();
    let refusal = refusal.as_str().expect("a refusal");
    assert!(refusal.starts_with("SandboxError: 409") && refusal.contains("second"), "{refusal}");
    let expected = json!({
        "names": [[], ["second"]],
        "listed": [["first"], ["second"]],
        "plain": ["written before the snapshot", false],
        "mounted": ["written before the snapshot", "kept in the bucket"],
        "refusal": null,
        "deleted": [true, false],
        "running": [true, true],
    });
    assert_eq!(seen, expected);
}
