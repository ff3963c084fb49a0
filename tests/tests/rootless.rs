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

/// An ordinary user's id that is nobody's on this machine.
const USER: &str = "54321";

/// Who the ordinary user is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Account {
    /// Somebody with an account and subordinate ids, as `adduser` makes them.
    WithSubordinateIds,
    /// An id without an account, like that of many a CI runner.
    None,
}

/// Makes `passwd`, `group`, `subuid` and `subgid` in which the ordinary user has an account, for the script to put
/// over those of the machine.
fn make_account(folder: &Path) {
    std::fs::create_dir(folder).expect("a directory");
    let lines = [
        ("passwd", format!("ordinary:x:{USER}:{USER}::/tmp:/bin/bash\n")),
        ("group", format!("ordinary:x:{USER}:\n")),
        ("subuid", "ordinary:200000:65536\n".to_owned()),
        ("subgid", "ordinary:200000:65536\n".to_owned()),
    ];
    for (file, line) in lines {
        let machine = std::fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
        std::fs::write(folder.join(file), machine + &line).expect("written");
    }
}

/// Runs `mountlab ARGUMENTS` as an ordinary user, in a mount namespace of its own whose `/dev/fuse` has `mode`, as
/// it has on ordinary machines (0666) or on strict ones (0600).
fn as_ordinary_user(account: Account, mode: &str, arguments: &[&str]) -> Outcome {
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
    if account == Account::WithSubordinateIds {
        assert!(Path::new("/usr/bin/newuidmap").exists(), "newuidmap is missing; `make test` installs it");
        make_account(&folder.path().join("etc"));
    }
    let script = r#"
        set -eu
        mount --make-rprivate /
        mkdir dev && mount -t tmpfs -o mode=0755 tmpfs dev
        mknod -m "$MODE" dev/fuse c 10 229
        mount --bind dev/fuse /dev/fuse
        for file in etc/*; do [ ! -f "$file" ] || mount --bind "$file" "/$file"; done
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

#[rstest]
#[case::with_subordinate_ids(
    Account::WithSubordinateIds,
    "scenarios/oss-single-mount.yaml",
    "oss-single-mount"
)]
#[case::nas(Account::WithSubordinateIds, "scenarios/nas-single-mount.yaml", "nas-single-mount")]
#[case::hibernation(
    Account::WithSubordinateIds,
    "scenarios/memory-kept-while-paused.yaml",
    "memory-kept-while-paused"
)]
#[case::all_alone(Account::None, "tests/scenarios/document-example.yaml", "document-example")]
fn an_ordinary_user_runs_the_example(#[case] account: Account, #[case] path: &str, #[case] name: &str) {
    let outcome = as_ordinary_user(account, "0666", &["run", path, "--report", "home/report"]);
    assert_eq!(outcome.status, Some(0), "{outcome}");
    assert!(outcome.stdout.lines().any(|line| line.starts_with("held") && line.contains(name)), "{outcome}");
}

#[rstest]
#[case::open("0666", true)]
#[case::closed("0600", false)]
fn doctor_knows_whether_fuse_can_be_opened(#[case] mode: &str, #[case] ready: bool) {
    let outcome = as_ordinary_user(Account::None, mode, &["doctor", "--output", "json"]);
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
    let outcome = as_ordinary_user(Account::None, "0600", &arguments);
    assert_eq!(outcome.status, Some(3), "{outcome}");
    assert!(outcome.stderr.contains("/dev/fuse") && outcome.stderr.contains("chmod"), "{outcome}");
}
