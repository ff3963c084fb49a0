//! `--backend cluster`: the same files, unchanged, on a cluster that somebody else has installed. Here that is a lab
//! of `mountlab up`, of which the runs know what anybody would: a kubeconfig, an address, a key.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use system_tests::{Kubectl, Up, assert_same_verdicts, mountlab, run};

/// Limit of one run.
const LIMIT: Duration = Duration::from_mins(5);

/// Files that are replayed on both, and what they show: refusals, a pool, mounts by our client, policies.
const FILES: [&str; 4] = [
    "scenarios/only-one-old-key.yaml",
    "scenarios/wrong-access-key.yaml",
    "scenarios/policy-forbids-oss.yaml",
    "scenarios/oss-single-mount.yaml",
];

/// A run's command with everything that leads to the cluster but the permission.
fn on_cluster(lab: &Up, report: &Path) -> Command {
    let mut command = mountlab(&["run", "--output", "json", "--jobs", "2", "--backend", "cluster"]);
    command.args(["--kubeconfig", lab.variable("KUBECONFIG"), "--e2b-url", lab.variable("E2B_API_URL")]);
    command.args(["--oss-endpoint", lab.variable("OSS_ENDPOINT_INSIDE")]);
    command.args(["--oss-endpoint-here", lab.variable("OSS_ENDPOINT")]);
    command.args(["--oss-region", lab.variable("OSS_REGION")]).arg("--report").arg(report);
    command.env("E2B_ADMIN_KEY", lab.variable("E2B_API_KEY"));
    for name in ["OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET"] {
        command.env(name, lab.variable(name));
    }
    command
}

/// Everything that others could miss or find too much of.
fn inventory(kubectl: &Kubectl) -> String {
    let objects = kubectl.call(&[
        "get",
        "namespaces,persistentvolumes,configmaps,secrets,sandboxsets,sandboxes,pods,networkpolicies,trafficpolicies",
        "-A",
        "-o",
        "jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name} {.metadata.uid}{\"\\n\"}{end}",
    ]);
    let mut lines: Vec<_> = objects.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn files_give_the_same_verdicts_and_leave_others_alone() {
    let lab = Up::start();
    // Somebody else's objects have the very names that the files use.
    let kubectl = lab.set_up_document_example();
    let before = inventory(&kubectl);
    let report = tempfile::tempdir().expect("a folder");

    let refused = run(on_cluster(&lab, report.path()).args(FILES), LIMIT);
    assert_eq!(refused.status, Some(2), "{refused}");
    assert!(refused.stderr.contains("--allow-context"), "{refused}");
    let refused =
        run(on_cluster(&lab, report.path()).args(["--allow-context", "production"]).args(FILES), LIMIT);
    assert_eq!(refused.status, Some(3), "{refused}");
    assert!(refused.stderr.contains("production") && refused.stderr.contains("current context"), "{refused}");
    assert_eq!(inventory(&kubectl), before, "a refused run has changed something");

    let context = kubectl.call(&["config", "current-context"]);
    let there =
        run(on_cluster(&lab, report.path()).args(["--allow-context", context.trim()]).args(FILES), LIMIT);
    assert_eq!(there.status, Some(0), "{there}");
    assert_eq!(inventory(&kubectl), before, "something was changed or left behind");

    let own = tempfile::tempdir().expect("a folder");
    let mut here = mountlab(&["run", "--output", "json", "--jobs", "2"]);
    let here = run(here.arg("--report").arg(own.path()).args(FILES), LIMIT);
    assert_same_verdicts(&there, &here, 4);
}
