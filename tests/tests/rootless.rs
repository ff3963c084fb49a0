//! An ordinary user runs the example too, and `doctor` says what keeps one from it.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rstest::rstest;
use serde_json::Value;
use system_tests::{Outcome, program, repository, run};

/// How long a run may take.
const LIMIT: Duration = Duration::from_mins(2);

/// An ordinary user's id: one that has no account, like that of many a CI runner.
const USER: &str = "54321";

/// Runs `mountlab ARGUMENTS` as an ordinary user, in a mount namespace of its own whose `/dev/fuse` has `mode`, as
/// it has on ordinary machines (0666) or on strict ones (0600).
fn as_ordinary_user(mode: &str, arguments: &[&str]) -> Outcome {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test makes a device node and becomes somebody else: run it as root"
    );
    let folder = tempfile::tempdir().expect("a directory");
    open(folder.path());
    copy(&program(), &folder.path().join("mountlab"));
    for part in ["fixtures", "scenarios", "tests/scenarios"] {
        copy_folder(&repository().join(part), &folder.path().join(part));
    }
    let home = folder.path().join("home");
    std::fs::create_dir(&home).expect("a home");
    let user: u32 = USER.parse().expect("a number");
    std::os::unix::fs::chown(&home, Some(user), Some(user)).expect("a home of its own");
    let script = r#"
        set -eu
        mount --make-rprivate /
        mkdir dev && mount -t tmpfs -o mode=0755 tmpfs dev
        mknod -m "$MODE" dev/fuse c 10 229
        mount --bind dev/fuse /dev/fuse
        exec setpriv --reuid "$ORDINARY" --regid "$ORDINARY" --clear-groups \
            env HOME="$PWD/home" TMPDIR="$PWD/home" "$PWD/mountlab" "$@"
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash", "-c", script, "bash"]).args(arguments).current_dir(folder.path());
    run(command.env("MODE", mode).env("ORDINARY", USER), LIMIT)
}

fn open(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("open to everybody");
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("copy {}: {error}", from.display()));
    open(to);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    open(to);
    for file in system_tests::machine::files(from) {
        let target = to.join(file.strip_prefix(from).expect("below the folder"));
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("a directory");
        copy(&file, &target);
    }
}

#[test]
fn an_ordinary_user_runs_the_example() {
    let arguments = ["run", "scenarios/oss-single-mount.yaml", "--report", "home/report"];
    let outcome = as_ordinary_user("0666", &arguments);
    assert_eq!(outcome.status, Some(0), "{outcome}");
    assert!(outcome.stdout.contains("oss-single-mount"), "{outcome}");
}

#[rstest]
#[case::open("0666", true)]
#[case::closed("0600", false)]
fn doctor_knows_whether_fuse_can_be_opened(#[case] mode: &str, #[case] ready: bool) {
    let outcome = as_ordinary_user(mode, &["doctor", "--output", "json"]);
    assert_eq!(outcome.status, Some(if ready { 0 } else { 3 }), "{outcome}");
    let diagnoses: Value = serde_json::from_str(&outcome.stdout).expect("a JSON document");
    let requirements = diagnoses[0]["requirements"].as_array().expect("a list");
    let fuse = requirements
        .iter()
        .find(|requirement| requirement["name"] == "/dev/fuse")
        .expect("a line on /dev/fuse");
    assert_eq!(fuse["met"], ready, "{fuse}");
    if !ready {
        assert!(fuse["remedy"].as_str().expect("a remedy").contains("chmod"), "{fuse}");
    }
}

#[test]
fn a_run_without_fuse_ends_with_status_3_and_the_doctors_words() {
    let arguments = ["run", "scenarios/oss-single-mount.yaml", "--report", "home/report"];
    let outcome = as_ordinary_user("0600", &arguments);
    assert_eq!(outcome.status, Some(3), "{outcome}");
    assert!(outcome.stderr.contains("/dev/fuse") && outcome.stderr.contains("chmod"), "{outcome}");
}
