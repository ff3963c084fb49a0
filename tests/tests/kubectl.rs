//! The real `kubectl` against a lab: the product document's objects as written.
#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

#[path = "kubectl/columns.rs"]
mod columns;
#[path = "kubectl/metrics.rs"]
mod metrics;

use std::time::Duration;

use system_tests::{DOCUMENT_SET, Kubectl, Up, fixture, wait_until};

/// How long deleting may take until everything is gone.
const CLEANUP_LIMIT: Duration = Duration::from_mins(1);
/// How long a step of a sandbox's life may take on a machine that is busy with other tests.
const LIFE_LIMIT: Duration = Duration::from_mins(2);

/// Metrics of the controller through the API server's proxy of the Services that `kind/manifests/` make.
const OF_CONTROLLER: &str = "/api/v1/namespaces/sandbox-system/services/sandbox-controller-manager-metrics-service:metrics/proxy/metrics";
/// Metrics of the manager.
const OF_MANAGER: &str = "/api/v1/namespaces/sandbox-system/services/sandbox-manager:api/proxy/metrics";

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

    columns::show_what_users_expect(&kubectl);
    metrics_are_where_a_cluster_has_them(&kubectl);

    let pod = kubectl.call(&["get", "pods", "-o", "name"]).lines().next().expect("a pod").to_owned();
    let described = kubectl.call(&["describe", &pod]);
    assert!(described.contains("Events:") && described.contains("Started"), "{described}");
    let described = kubectl.call(&["describe", "sandboxset", DOCUMENT_SET]);
    assert!(described.contains("Available Replicas:") && described.contains("Events:"), "{described}");
    assert!(!described.contains("Events:  <none>"), "{described}");
    let said =
        kubectl.call(&["exec", &pod, "-c", "sandbox", "--", "sh", "-c", "echo from inside; echo aside >&2"]);
    assert_eq!(said, "from inside\n");
    let failed = kubectl.try_call(&["exec", &pod, "-c", "sandbox", "--", "sh", "-c", "exit 3"]);
    assert_eq!(failed.status, Some(3), "{failed}");
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

fn metrics_are_where_a_cluster_has_them(kubectl: &Kubectl) {
    let full = format!("sandboxset_available_replicas{{namespace=\"default\",name=\"{DOCUMENT_SET}\"}} 4.0");
    let claimed = format!(
        "sandboxset_claims_total{{namespace=\"default\",name=\"{DOCUMENT_SET}\",result=\"success\"}} 1"
    );
    for (path, lines) in [
        (OF_CONTROLLER, vec![full, claimed]),
        (OF_MANAGER, vec!["sandbox_manager_sandboxes{state=\"running\"} 0.0".to_owned()]),
    ] {
        wait_until("metrics deadline", CLEANUP_LIMIT, || {
            let text = kubectl.call(&["get", "--raw", path]);
            let all = lines.iter().all(|line| text.lines().any(|found| found == line));
            if all { Ok(()) } else { Err(text) }
        });
    }
    let nobody = OF_MANAGER.replace("sandbox-manager", "nobody");
    let nobody = kubectl.try_call(&["get", "--raw", &nobody]);
    assert_ne!(nobody.status, Some(0), "{nobody}");
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
