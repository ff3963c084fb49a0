//! `--backend kind`: the same files on a real cluster, with a real kubelet, containers and mount propagation, give the
//! verdicts that they give on the embedded lab. Needs Docker, or root and what `mountlab doctor` names.
#![cfg(feature = "e2e")]
#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use system_tests::{assert_same_verdicts, mountlab, run};

/// Limit of a run that has to make the images and the cluster first.
const LIMIT: Duration = Duration::from_mins(60);

/// Files that were seen to hold there; a file is added once it does.
const FILES: [&str; 11] = [
    "scenarios/oss-single-mount.yaml",
    "scenarios/main-container-restarts.yaml",
    "scenarios/oss-single-mount-python.yaml",
    "scenarios/failures/csi-sidecar.yaml",
    "scenarios/failures/accepted-requests.yaml",
    "scenarios/failures/refused-requests.yaml",
    "scenarios/failures/components-killed.yaml",
    "scenarios/failures/oss-outages.yaml",
    "scenarios/nas-single-mount.yaml",
    "scenarios/nas-access-refused.yaml",
    "scenarios/several-mounts.yaml",
];

#[test]
fn files_give_the_same_verdicts_on_a_real_cluster() {
    let report = tempfile::tempdir().expect("a folder");
    let mut there = mountlab(&["run", "--output", "json", "--jobs", "1", "--backend", "kind"]);
    let there = run(there.arg("--report").arg(report.path()).args(FILES), LIMIT);
    assert_eq!(there.status, Some(0), "{there}");
    let own = tempfile::tempdir().expect("a folder");
    let mut here = mountlab(&["run", "--output", "json", "--jobs", "1"]);
    let here = run(here.arg("--report").arg(own.path()).args(FILES), LIMIT);
    assert_same_verdicts(&there, &here, FILES.len());
}
