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
const FILES: [&str; 5] = [
    "scenarios/only-one-old-key.yaml",
    "scenarios/wrong-access-key.yaml",
    "scenarios/policy-forbids-oss.yaml",
    "scenarios/oss-single-mount.yaml",
    "scenarios/nas-single-mount.yaml",
];

/// The export of somebody's NFS server in which labs make theirs.
const EXPORT: &str = "/labs";

/// A run's command with everything that leads to the cluster but the permission.
fn on_cluster(lab: &Up, report: &Path) -> Command {
    on_cluster_with(lab, report, &format!("{}:{EXPORT}", lab.variable("NAS_SERVER_INSIDE")))
}

/// The same with another NFS server.
fn on_cluster_with(lab: &Up, report: &Path, nas_server: &str) -> Command {
    let mut command = mountlab(&["run", "--output", "json", "--jobs", "2", "--backend", "cluster"]);
    command.args(["--kubeconfig", lab.variable("KUBECONFIG"), "--e2b-url", lab.variable("E2B_API_URL")]);
    command.args(["--oss-endpoint", lab.variable("OSS_ENDPOINT_INSIDE")]);
    command.args(["--oss-endpoint-here", lab.variable("OSS_ENDPOINT")]);
    command.args(["--oss-region", lab.variable("OSS_REGION")]).arg("--report").arg(report);
    let here = format!("{}:{}", lab.variable("NAS_SERVER"), lab.variable("NAS_PORT"));
    command.args(["--nas-server", nas_server, "--nas-server-here", &here]);
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

/// What is in the export.
fn listing(lab: &Up) -> String {
    let (host, port) = (lab.variable("NAS_SERVER"), lab.variable("NAS_PORT"));
    let url = format!("nfs://{host}{EXPORT}?nfsport={port}&mountport={}", lab.variable("NAS_MOUNT_PORT"));
    let mut list = Command::new("nfs-ls");
    let listed = run(list.args(["-R", &url]), LIMIT);
    assert_eq!(listed.status, Some(0), "{listed}");
    listed.stdout
}

#[test]
fn files_give_the_same_verdicts_and_leave_others_alone() {
    let lab = Up::start_with(&["--export", EXPORT]);
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
    let context = kubectl.call(&["config", "current-context"]);
    let allowed = ["--allow-context", context.trim()];
    for (server, status, words) in
        [("nas:2049", 2, "HOST:/EXPORT"), ("nas:/none", 3, "mounting /none was refused with MNT3ERR_NOENT")]
    {
        let mut wrong = on_cluster_with(&lab, report.path(), server);
        let wrong = run(wrong.args(allowed).args(FILES), LIMIT);
        assert_eq!(wrong.status, Some(status), "{wrong}");
        assert!(wrong.stderr.contains(words), "{wrong}");
    }
    assert_eq!(inventory(&kubectl), before, "a refused run has changed something");

    let there = run(on_cluster(&lab, report.path()).args(allowed).args(FILES), LIMIT);
    assert_eq!(there.status, Some(0), "{there}");
    assert_eq!(inventory(&kubectl), before, "something was changed or left behind");
    assert_eq!(listing(&lab), "", "something is left in the export");

    let own = tempfile::tempdir().expect("a folder");
    let mut here = mountlab(&["run", "--output", "json", "--jobs", "2"]);
    let here = run(here.arg("--report").arg(own.path()).args(FILES), LIMIT);
    assert_same_verdicts(&there, &here, FILES.len());
}
