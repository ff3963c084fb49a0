//! Nothing leaks from an enclosure.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use node_sim::enclosure::{EnclosureOptions, spawn};
use rstest::rstest;
use support::{LIMIT, Lab, SHIM, enclosed, enclosed_as_user};

/// Command lines of the machine's processes, arguments with a blank between them.
fn command_lines() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " "))
    })
}

/// Processes whose command line holds `marker`.
fn processes(marker: &str) -> Vec<String> {
    command_lines().filter(|line| line.contains(marker)).collect()
}

/// Mounts and interfaces of the machine.
fn inventory() -> (String, BTreeSet<String>) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    let links = fs::read_dir("/sys/class/net").expect("interfaces").flatten();
    (mounts, links.map(|link| link.file_name().to_string_lossy().into_owned()).collect())
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "deadline {LIMIT:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Starts a process that starts an enclosure in which two more processes run, one of them deaf to signals.
fn outside(marker: &str) -> Child {
    let script = format!(
        "mount -t tmpfs {marker} /mnt; ip link add br0 type bridge; \
         (trap '' TERM INT HUP; while :; do sleep 1; done) & exec sleep 1000{marker}"
    );
    Command::new(SHIM)
        .args(["outside", SHIM, "enclosed", "/dev/null", "/bin/sh", "-c", &script, marker])
        .spawn()
        .expect("the outside")
}

#[rstest]
#[case(0)]
#[case(1)]
#[case(2)]
#[case(4)]
#[case(8)]
#[case(16)]
#[case(32)]
#[case(64)]
#[case(128)]
fn killing_the_outside_at_any_moment_leaves_nothing(#[case] milliseconds: u64) {
    let before = inventory();
    let marker = format!("{:05}{milliseconds:03}", std::process::id());
    let mut outside = outside(&marker);
    let moment = Instant::now() + Duration::from_millis(milliseconds);
    while Instant::now() < moment && outside.try_wait().expect("a child").is_none() {
        std::thread::park_timeout(Duration::from_millis(2));
    }
    outside.kill().expect("killed");
    outside.wait().expect("reaped");
    wait_until("a process outlives the outside", || processes(&marker).is_empty());
    assert_eq!(inventory(), before);
}

#[test]
fn killing_the_outside_of_a_complete_enclosure_leaves_nothing() {
    let before = inventory();
    let marker = format!("{:05}999", std::process::id());
    let mut outside = outside(&marker);
    // The script that says so is an argument of every process on the way: only the whole line is the last one's.
    let last = format!("sleep 1000{marker}");
    wait_until("the enclosure is complete", || command_lines().any(|line| line == last));
    assert_eq!(inventory(), before, "what is made inside is not seen outside");
    outside.kill().expect("killed");
    outside.wait().expect("reaped");
    wait_until("a process outlives the outside", || processes(&marker).is_empty());
    assert_eq!(inventory(), before);
}

#[tokio::test]
async fn descriptors_are_handed_in_and_the_exit_code_comes_out() {
    // The enclosed program gets the socket's other end as its only descriptor, and dies with the exit code.
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    let options = EnclosureOptions {
        program: SHIM.into(),
        args: ["enclosed", "/dev/null", "/bin/sh", "-c", "exit 7"].map(Into::into).into(),
        environment: Vec::new(),
        file_descriptors: vec![theirs.into()],
    };
    let mut enclosure = spawn(options).await.expect("an enclosure");
    let status = tokio::time::timeout(LIMIT, enclosure.wait()).await.expect("in time").expect("an end");
    assert_eq!(status.code(), Some(7));
    // Nobody holds the other end any more: neither the anchor nor PID 1 kept a copy.
    assert!(ours.write_all(b"x").is_err() || ours.read(&mut [0]).is_ok_and(|bytes| bytes == 0));
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_an_error() {
    let options = EnclosureOptions {
        program: "/no/such/program".into(),
        args: Vec::new(),
        environment: Vec::new(),
        file_descriptors: Vec::new(),
    };
    let error = spawn(options).await.expect_err("no enclosure");
    assert_eq!(error.to_string(), "enclosure: starting the program failed");
}

#[test]
fn two_labs_side_by_side_do_not_see_each_other() {
    enclosed("two_labs_side_by_side_do_not_see_each_other", || async {
        let lab = Lab::start().await;
        lab.create("box", serde_json::json!({"containers": [{"name": "main", "image": "i"}]})).await;
        lab.wait_ready("box").await;
        let numbers = fs::read_dir("/proc").expect("/proc").flatten();
        let numbers =
            numbers.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count();
        assert!(numbers < 12, "{numbers} processes are seen in the lab");
        // The same bridge and the same addresses exist in the other test's lab at this very moment or any other.
        assert!(fs::exists("/sys/class/net/lab0").is_ok());
    });
}

#[test]
fn an_ordinary_user_runs_pods_too() {
    enclosed_as_user("an_ordinary_user_runs_pods_too", || async {
        let lab = Lab::start().await;
        let volume =
            serde_json::json!([{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]);
        let spec = serde_json::json!({
            "initContainers": [{"name": "side", "image": "csi-agent:1", "restartPolicy": "Always",
                "securityContext": {"privileged": true}, "volumeMounts": volume}],
            "containers": [{"name": "main", "image": "i",
                "volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "HostToContainer"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}]
        });
        lab.create("box", spec).await;
        lab.wait_ready("box").await;
        assert_eq!(lab.run("box", "main", "id -u").await, "0");
        lab.run("box", "side", "mkdir /v/a && mount -t tmpfs store /v/a && echo hello > /v/a/file").await;
        assert_eq!(lab.run("box", "main", "cat /v/a/file").await, "hello");
        lab.run("box", "main", "echo mine > /usr/local/bin/written && test -s /usr/local/bin/written").await;
        lab.delete("box").await;
        assert_eq!(lab.node.leftovers().await.expect("an inventory"), []);
    });
}
