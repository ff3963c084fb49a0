//! Two labs at once don't disturb each other.
#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use system_tests::{Up, environment, mountlab, run};

/// How long the script may take.
const SCRIPT_LIMIT: Duration = Duration::from_mins(2);

const REQUIREMENTS: &[&str] = &["boto3", "e2b", "e2b-code-interpreter"];

fn example(lab: &Up) -> Value {
    let mut command = environment::python(REQUIREMENTS, "document_example.py");
    command.envs(lab.variables()).env("OSS_BUCKET", lab.bucket()).env("CREATE", "create");
    let mut seen = run(&mut command, SCRIPT_LIMIT).json();
    // The refusal names the sandbox, which is another one each time.
    let refusal = seen["pause with NAS"].take();
    assert!(refusal.as_str().is_some_and(|text| text.contains("is NAS storage")), "{refusal}");
    seen
}

#[test]
fn two_labs_share_nothing() {
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(Up::start);
        (Up::start(), first.join().expect("the first lab"))
    });
    for variable in ["E2B_API_URL", "E2B_API_KEY", "OSS_ENDPOINT", "OSS_ACCESS_KEY_SECRET", "KUBECONFIG"] {
        assert_ne!(first.variable(variable), second.variable(variable), "{variable} is shared");
    }
    let set_up = |lab: &Up| {
        lab.set_up_document_example();
        lab.set_up_nas();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| set_up(&first));
        set_up(&second);
    });
    // the same names in both: each lab's example must see its own files only
    let (seen, other) = std::thread::scope(|scope| {
        let seen = scope.spawn(|| example(&first));
        (example(&second), seen.join().expect("no panic"))
    });
    assert_eq!(seen, other);
    assert_eq!(seen["read"], "hello from OSS\n");

    first.kubectl().call(&["create", "configmap", "only-in-the-first"]);
    let absent = second.kubectl().try_call(&["get", "configmap", "only-in-the-first"]);
    assert!(absent.stderr.contains("NotFound"), "{absent}");

    drop(first);
    assert_eq!(example(&second)["cat"], "hello from OSS\n", "the end of one lab took part of the other");
}

/// How long a run of a few scenarios may take.
const RUN_LIMIT: Duration = Duration::from_mins(3);

fn replay(seed: &str, scenarios: &[&str], report: &Path) {
    let mut command = mountlab(&["run", "--seed", seed, "--report"]);
    run(command.arg(report).args(scenarios), RUN_LIMIT);
}

#[test]
fn two_runs_of_the_same_scenarios_go_the_same_way() {
    let reports = tempfile::tempdir().expect("a directory");
    let folder = |name: &str| reports.path().join(name);
    let scenarios =
        ["scenarios/oss-single-mount.yaml", "scenarios/several-mounts.yaml", "scenarios/missing-bucket.yaml"];
    std::thread::scope(|scope| {
        scope.spawn(|| replay("1", &scenarios, &folder("first")));
        scope.spawn(|| replay("2", &scenarios, &folder("second")));
        replay("3", &scenarios[..2], &folder("third"));
    });
    let compare = |second: &str| {
        let mut command = mountlab(&["compare", "--output", "json"]);
        let out = command.arg(folder("first")).arg(folder(second)).output().expect("the program runs");
        let document: Value = serde_json::from_slice(&out.stdout).expect("a JSON document");
        (out.status.code(), document)
    };
    let (status, document) = compare("second");
    assert_eq!(status, Some(0), "{document:#}");
    let compared: Vec<_> = document["scenarios"].as_array().expect("a list").iter().collect();
    assert_eq!(compared.len(), scenarios.len());
    for scenario in compared {
        assert!(scenario["sameLines"].as_u64().expect("a number") > 5, "{scenario:#}");
    }
    let (status, document) = compare("third");
    assert_eq!(status, Some(1), "a scenario is missing there: {document:#}");
}
