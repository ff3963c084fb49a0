//! The kind backend as users have it: the same files on a real cluster, with a real kubelet, containers and mount
//! propagation, give the verdicts that they give on the embedded lab; and nothing stays behind. Needs Docker, or root and
//! what `mountlab doctor` names.
#![cfg(feature = "e2e")]
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use system_tests::{Kubectl, Outcome, assert_same_verdicts, machine, mountlab, repository, run, wait_until};

/// Limit of a run that has to make the images and the cluster first.
const LIMIT: Duration = Duration::from_mins(60);
/// Limit of one thing on a cluster that is there.
const SHORT: Duration = Duration::from_mins(5);
/// How soon a run begins its first scenario on a cluster that an earlier one left.
const WARM_START: Duration = Duration::from_secs(10);
/// How long all scenarios may take there before something hangs; what they should take is in `docs/performance.md`.
const ALL_SCENARIOS: Duration = Duration::from_mins(20);
/// How often a scenario is repeated that went differently: a difference that is none of chance is there each time.
const REPEATS: usize = 3;
/// The page that says what came of it.
const PARITY: &str = "docs/parity.md";
/// The differences that are right.
const REASONS: &str = "kind/parity.yaml";

/// One cluster for all: what needs it as it was left comes later.
#[test]
fn a_real_cluster_from_nothing_to_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let reports = [folder.path().join("embedded"), folder.path().join("kind")];
    an_image_that_cannot_be_had_is_named(folder.path());
    the_next_run_begins_at_once(folder.path());
    an_interrupted_run_leaves_the_cluster_clean(folder.path());
    another_mounter_is_taken_for_one_run(folder.path());
    every_scenario_goes_as_on_the_embedded_lab(&reports);
    what_plain_apply_installs_serves_others(folder.path());
    nothing_is_left_at_the_end();
}

/// A daemon of its own, which finds no way to a registry.
fn an_image_that_cannot_be_had_is_named(folder: &Path) {
    let cache = folder.join("cache");
    let docker = Command::new("docker").arg("version").output().is_ok_and(|version| version.status.success());
    if docker || !nix::unistd::geteuid().is_root() {
        println!("a daemon of our own is not started here, so none that has no way to a registry");
        return;
    }
    // Without the way out no program could be built either; those that were are used.
    let home = PathBuf::from(std::env::var_os("HOME").expect("a home"));
    let usual = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let own = cache.join("mountlab/kind");
    std::fs::create_dir_all(&own).expect("a folder");
    std::os::unix::fs::symlink(usual.join("mountlab/kind/programs"), own.join("programs")).expect("a link");
    let mut command = mountlab(&["kind", "up", "--images", "registry", "--daemon", "own"]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let outcome = run(command.env("XDG_CACHE_HOME", &cache), SHORT);
    assert_eq!(outcome.status, Some(3), "{outcome}");
    for words in ["the image debian:", "can't be had", "mountlab kind up --images build"] {
        assert!(outcome.stderr.contains(words), "{words:?} is not said: {outcome}");
    }
    let clusters = cache.join("mountlab/kind/clusters/mountlab");
    assert!(!clusters.exists(), "a cluster was begun: {outcome}");
    let place = cache.display().to_string();
    let processes = machine::processes();
    let left: Vec<_> = processes.values().filter(|process| process.command.contains(&place)).collect();
    assert!(left.is_empty(), "processes are left: {left:?}");
}

/// `--oss-mounter s3fs` for one run; the one after it has our own, which tells of no other.
fn another_mounter_is_taken_for_one_run(folder: &Path) {
    let mounters = |name: &str, arguments: &[&str]| {
        let report = folder.join(format!("mounter-{name}"));
        let mut command = kind_command(&report, &["scenarios/oss-single-mount.yaml"]);
        let outcome = run(command.args(arguments), LIMIT);
        assert_eq!(outcome.status, Some(0), "{outcome}");
        let journal = report.join("oss-single-mount/journal.jsonl");
        let journal = std::fs::read_to_string(journal).expect("a journal");
        let entries = journal.lines().map(|line| serde_json::from_str::<Value>(line).expect("an entry"));
        let mounted = entries.filter(|entry| entry["kind"] == "OssMounted");
        mounted.map(|entry| entry["body"]["mounter"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(mounters("s3fs", &["--oss-mounter", "s3fs"]), ["s3fs"]);
    assert_eq!(mounters("ours", &[]), [""; 0]);
}

fn every_scenario_goes_as_on_the_embedded_lab([embedded, kind]: &[PathBuf; 2]) {
    let on_kind = on_kind(kind, &["scenarios"]);
    assert!(on_kind.status == Some(0) || on_kind.status == Some(1), "{on_kind}");
    let here = run(&mut embedded_command(embedded, &["scenarios"]), LIMIT);
    assert_eq!(on_kind.status, Some(0), "{on_kind}");
    assert_same_verdicts(&on_kind, &here, 20);
    let page = embedded.with_file_name("parity.md");
    let mut compared = compare(&page, [embedded, kind]);
    for _ in 0..REPEATS {
        for name in differing(&compared.stdout) {
            println!("{compared}\n{name} once more: what was chance is not there again");
            once_more(&name, kind, kind_command);
            once_more(&name, embedded, embedded_command);
        }
        compared = compare(&page, [embedded, kind]);
    }
    println!("{}", compared.stdout);
    assert_eq!(compared.status, Some(0), "{compared}");
    let took = seconds(&on_kind);
    println!("all scenarios on kind: {took:.1?}");
    assert!(took <= ALL_SCENARIOS, "all scenarios took {took:?}");
    keep_page(&page);
}

fn compare(page: &Path, reports: [&PathBuf; 2]) -> Outcome {
    let mut command = mountlab(&["compare", "--reasons", REASONS]);
    run(command.arg("--page").arg(page).args(reports), SHORT)
}

/// The scenarios that a comparison says went differently.
fn differing(compared: &str) -> Vec<String> {
    let lines = compared.lines().filter(|line| line.contains(" DIFFERENT"));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// A run on the embedded lab.
fn embedded_command(report: &Path, files: &[&str]) -> Command {
    let mut command = mountlab(&["run", "--output", "json", "--report"]);
    command.arg(report).args(files);
    command
}

/// Runs a scenario again, on the backend of `command`, and puts its journal in the place of the one in `report`.
fn once_more(name: &str, report: &Path, command: fn(&Path, &[&str]) -> Command) {
    let again = report.with_file_name(format!("again-{name}"));
    if again.exists() {
        std::fs::remove_dir_all(&again).expect("the report of the time before goes");
    }
    let outcome = run(command(&again, &["scenarios"]).args(["--filter", name]), SHORT);
    assert_eq!(outcome.status, Some(0), "{outcome}");
    std::fs::rename(again.join(name).join("journal.jsonl"), report.join(name).join("journal.jsonl"))
        .expect("its journal");
}

/// The page in `docs/` has the scenarios and verdicts of this run; with `UPDATE_DOCS=1` it becomes this run's.
fn keep_page(made: &Path) {
    let kept = repository().join(PARITY);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::copy(made, &kept).expect("the page is written");
    }
    let [made, kept] = [made, &kept].map(|page| std::fs::read_to_string(page).expect("a page"));
    assert_eq!(verdicts(&made), verdicts(&kept), "{PARITY} is out of date: UPDATE_DOCS=1 make e2e");
}

/// Scenario and verdict of each row of the first table.
fn verdicts(page: &str) -> BTreeMap<String, String> {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        (cells[0].trim_start_matches("| ").to_owned(), cells[3].to_owned())
    })
    .collect()
}

fn the_next_run_begins_at_once(folder: &Path) {
    variables();
    // The better of two: other work of this machine is not what is measured.
    let starts = [0, 1].map(|number| {
        let begun = Instant::now();
        let outcome =
            on_kind(&folder.join(format!("warm-{number}")), &["scenarios/unknown-persistent-volume.yaml"]);
        assert_eq!(outcome.status, Some(0), "{outcome}");
        begun.elapsed().saturating_sub(seconds(&outcome))
    });
    let best = starts.into_iter().min().unwrap_or_default();
    println!("warm start: {starts:.1?}");
    assert!(best <= WARM_START, "the first scenario began after {best:?}");
}

fn an_interrupted_run_leaves_the_cluster_clean(folder: &Path) {
    // Asking for the way there takes the cluster, as a run does.
    let kubectl = kubectl();
    let report = folder.join("interrupted");
    let mut command = kind_command(&report, &["scenarios/oss-single-mount.yaml"]);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().expect("started");
    let id = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    wait_until("a sandbox of the run", SHORT, || {
        let pods = kubectl.call(&["get", "pods", "-A", "-o", "name"]);
        if pods.contains("code-interpreter-inject-test") { Ok(()) } else { Err(pods) }
    });
    kill(id, Signal::SIGINT).expect("it runs");
    wait_until("the run's end", SHORT, || match child.try_wait() {
        Ok(Some(status)) if !status.success() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(of_labs(&kubectl), "", "what labs made is left");
}

/// What bears a lab's label.
fn of_labs(kubectl: &Kubectl) -> String {
    let kinds = "namespaces,persistentvolumes,secrets";
    kubectl.call(&["get", kinds, "-A", "-l", "mountlab.dev/lab", "-o", "name"])
}

fn what_plain_apply_installs_serves_others(folder: &Path) {
    let kubectl = kubectl();
    let manifests = repository().join("kind/manifests").display().to_string();
    // Somebody who knows nothing of this backend.
    kubectl.call(&["delete", "namespace", "sandbox-system", "--wait", "--timeout=80s"]);
    kubectl.call(&["apply", "-f", &manifests]);
    let key = "an-operators-own-key";
    let literal = format!("--from-literal=admin-key={key}");
    kubectl.call(&["create", "secret", "generic", "sandbox-manager", "-n", "sandbox-system", &literal]);
    kubectl.call(&["rollout", "restart", "deployment", "-n", "sandbox-system"]);
    kubectl.call(&[
        "rollout",
        "status",
        "deployment/sandbox-manager",
        "-n",
        "sandbox-system",
        "--timeout=80s",
    ]);
    let controller = "deployment/sandbox-controller-manager";
    kubectl.call(&["rollout", "status", controller, "-n", "sandbox-system", "--timeout=80s"]);
    kubectl.feed(&["apply"], DOOR);

    let up = variables();
    let context = kubectl.call(&["config", "current-context"]);
    let mut command = mountlab(&["run", "--output", "json", "--backend", "cluster", "--small-requests"]);
    command.args(["--no-network-policies", "--jobs", "2", "--allow-context", context.trim()]);
    command.args(["--kubeconfig", &up["KUBECONFIG"], "--e2b-url", &up["KIND_DOOR"]]);
    command.args(["--oss-endpoint", &up["OSS_ENDPOINT_INSIDE"], "--oss-endpoint-here", &up["OSS_ENDPOINT"]]);
    command.env("E2B_ADMIN_KEY", key).arg("--report").arg(folder.join("cluster"));
    for name in ["OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET"] {
        command.env(name, &up[name]);
    }
    let files = ["oss-single-mount-python.yaml", "several-mounts.yaml", "unknown-persistent-volume.yaml"];
    let outcome = run(command.args(files.map(|file| format!("scenarios/{file}"))), SHORT);
    assert_eq!(outcome.status, Some(0), "{outcome}");
    assert_eq!(of_labs(&kubectl), "", "what labs made is left");
}

/// A way in from this machine: the node's port that Docker publishes.
const DOOR: &str = "
apiVersion: v1
kind: Service
metadata: {name: door, namespace: sandbox-system}
spec:
  type: NodePort
  selector: {component: sandbox-manager}
  ports: [{name: api, port: 8080, targetPort: api, nodePort: 30080}]
";

fn nothing_is_left_at_the_end() {
    let up = variables();
    let home = std::env::var_os("HOME").expect("a home");
    let own = Path::new(&home).join(".kube/config");
    let before = std::fs::read(&own).ok();
    run(&mut mountlab(&["kind", "down"]), SHORT).expect_success();
    let docker = |words: &[&str]| {
        let mut command = Command::new("docker");
        command.args(words).envs(up.get("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
        run(&mut command, SHORT)
    };
    match up.get("DOCKER_HOST") {
        // A daemon of our own ends with its last container.
        Some(host) => {
            let socket = host.strip_prefix("unix://").expect("a socket");
            assert!(!Path::new(socket).exists(), "our daemon still runs");
            let mounts = std::fs::read_to_string("/proc/self/mounts").expect("a mount table");
            let left: Vec<_> = mounts.lines().filter(|line| line.contains("mountlab")).collect();
            assert!(left.is_empty(), "{left:?}");
        }
        None => {
            for kind in ["container", "network"] {
                let left = docker(&[kind, "ls", "--quiet", "--filter", "name=^mountlab-"]).expect_success();
                assert_eq!(left, "", "a {kind} is left");
            }
        }
    }
    assert!(!Path::new(&up["KUBECONFIG"]).exists(), "the cluster's kubeconfig is left");
    assert_eq!(std::fs::read(&own).ok(), before, "the user's kubeconfig was touched");
}

fn on_kind(report: &Path, paths: &[&str]) -> Outcome {
    run(&mut kind_command(report, paths), LIMIT)
}

fn kind_command(report: &Path, paths: &[&str]) -> Command {
    let mut command = mountlab(&["run", "--output", "json", "--backend", "kind", "--keep"]);
    command.arg("--report").arg(report).args(paths);
    command
}

/// How long the scenarios of a run took together.
fn seconds(outcome: &Outcome) -> Duration {
    let summary: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"));
    Duration::from_secs_f64(summary["seconds"].as_f64().expect("a number"))
}

/// What `mountlab kind up` prints for a shell.
fn variables() -> BTreeMap<String, String> {
    let said = run(&mut mountlab(&["kind", "up"]), LIMIT).expect_success();
    let exports = said.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    exports.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn kubectl() -> Kubectl {
    Kubectl::new(variables().remove("KUBECONFIG").expect("a kubeconfig"))
}
