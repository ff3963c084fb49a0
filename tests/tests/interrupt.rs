//! Ctrl-C ends a run within two seconds, with a report.
#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use system_tests::machine::{family, processes};
use system_tests::{mountlab, wait_until};

/// The promise of the interface.
const PROMISE: Duration = Duration::from_secs(2);

/// How long the scenario may take to reach the command that is interrupted.
const REACH_LIMIT: Duration = Duration::from_mins(1);

#[test]
fn an_interrupted_run_ends_soon_and_reports() {
    let report = tempfile::tempdir().expect("a directory");
    let mut lab = mountlab(&["run", "tests/scenarios/mounted-for-a-minute.yaml", "--report"])
        .arg(report.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let id = i32::try_from(lab.id()).expect("a process id");
    wait_until("deadline of the long command", REACH_LIMIT, || {
        let ended = lab.try_wait().expect("a child of this test");
        assert!(ended.is_none(), "the run ended by itself: {ended:?}");
        let commands: Vec<String> =
            family(&processes(), id).into_values().map(|process| process.command).collect();
        let reached = commands.iter().any(|command| command.trim_end() == "sleep 60");
        if reached { Ok(()) } else { Err(commands.join("\n")) }
    });
    let members = family(&processes(), id);

    let interrupted = Instant::now();
    kill(Pid::from_raw(id), Signal::SIGINT).expect("the run is there");
    let status = wait_until("end of an interrupted run", Duration::from_secs(20), || {
        lab.try_wait().expect("a child of this test").ok_or_else(|| "it is running".to_owned())
    });
    let took = interrupted.elapsed();
    assert!(took <= PROMISE, "the run took {took:?} to end");
    assert_eq!(status.code(), Some(1), "an interrupted run has not held: {status}");
    let left: Vec<_> = processes().into_keys().filter(|id| members.contains_key(id)).collect();
    assert!(left.is_empty(), "{left:?} are left");

    let text = std::fs::read_to_string(report.path().join("report.json")).expect("report.json");
    let content: Value = serde_json::from_str(&text).expect("a JSON document");
    let scenario = &content["scenarios"][0];
    assert_eq!(content["stopped"], true, "{content:#}");
    assert_eq!(
        (&scenario["name"], &scenario["verdict"]),
        (&"mounted-for-a-minute".into(), &"stopped".into()),
        "{content:#}"
    );
    assert!(report.path().join("junit.xml").is_file(), "junit.xml is missing");
    assert!(report.path().join("mounted-for-a-minute/journal.jsonl").is_file(), "the journal is missing");
}
