//! The real `kubectl` against a lab: the product document's objects as written.
#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use system_tests::{DOCUMENT_SET, Up, fixture, wait_until};

/// How long deleting may take until everything is gone.
const CLEANUP_LIMIT: Duration = Duration::from_mins(1);

#[test]
fn the_document_objects_from_apply_to_delete() {
    let lab = Up::start();
    let kubectl = lab.kubectl();
    let set = fixture("code-interpreter-inject-test.yaml", &[]);

    let applied = kubectl.feed(&["apply"], &format!("{set}---\n{}", lab.document_storage()));
    for object in [
        "sandboxset.agents.kruise.io/code-interpreter-inject-test",
        "secret/oss-secret",
        "persistentvolume/oss-pv-sandbox-system",
    ] {
        assert!(applied.contains(&format!("{object} created")), "{applied}");
    }
    kubectl.wait_for_pool();
    let again = kubectl.feed(&["apply"], &set);
    assert!(again.contains("unchanged"), "{again}");
    kubectl.feed(&["apply", "--server-side", "--force-conflicts"], &set);

    let table = kubectl.call(&["get", "sandbox", "-o", "wide"]);
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("NAME"), "{table}");
    assert_eq!(
        rows.iter().filter(|row| row.starts_with(DOCUMENT_SET) && row.contains("Running")).count(),
        4,
        "{table}"
    );

    let pod = kubectl.call(&["get", "pods", "-o", "name"]).lines().next().expect("a pod").to_owned();
    let described = kubectl.call(&["describe", &pod]);
    assert!(described.contains("Events:") && described.contains("Started"), "{described}");
    let described = kubectl.call(&["describe", "sandboxset", DOCUMENT_SET]);
    assert!(described.contains("Available Replicas:") && described.contains("Events:"), "{described}");
    assert!(!described.contains("Events:  <none>"), "{described}");
    let logs = kubectl.call(&["logs", &pod, "--all-containers", "--prefix"]);
    assert!(!logs.trim().is_empty(), "no container has said anything");

    kubectl.call(&["delete", "sandboxset", DOCUMENT_SET, "--timeout=60s"]);
    wait_until("cleanup deadline", CLEANUP_LIMIT, || {
        let left = kubectl.call(&["get", "sandboxes,pods", "-o", "name"]);
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    });
    kubectl.call(&["delete", "pv", "oss-pv-sandbox-system"]);
    kubectl.call(&["delete", "secret", "oss-secret", "-n", "sandbox-system"]);
}

#[test]
fn a_refused_object_says_which_field_is_wrong() {
    let lab = Up::start();
    let wrong = fixture("code-interpreter-inject-test.yaml", &[("replicas: 4", "replicas: four")]);
    let path = std::env::temp_dir().join(format!("mountlab-wrong-{}.yaml", std::process::id()));
    std::fs::write(&path, wrong).expect("written");
    let outcome = lab.kubectl().try_call(&["apply", "-f", &path.display().to_string()]);
    std::fs::remove_file(&path).expect("removed");
    assert_ne!(outcome.status, Some(0), "{outcome}");
    assert!(outcome.stderr.contains("replicas"), "{outcome}");
}
