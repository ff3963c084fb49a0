//! What the kind backend can't do without, and what it says then: one message with what to do, exit status 3, and nothing
//! left. None of it needs Docker.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use system_tests::{Outcome, mountlab, program, repository, run};

const LIMIT: Duration = Duration::from_mins(1);
const SCENARIO: &str = "scenarios/unknown-persistent-volume.yaml";

/// A run on kind with its caches and its report below `folder`.
fn on_kind(folder: &Path) -> Command {
    let mut command = mountlab(&["run", SCENARIO, "--backend", "kind", "--report"]);
    command.arg(folder.join("report")).env("XDG_CACHE_HOME", folder.join("cache")).env_remove("DOCKER_HOST");
    command
}

/// Everything was refused, with `words`, and nothing begun.
fn refused(outcome: &Outcome, folder: &Path, words: &[&str]) {
    assert_eq!(outcome.status, Some(3), "{outcome}");
    assert_eq!(outcome.stdout, "", "{outcome}");
    let messages: Vec<_> = outcome.stderr.lines().filter(|line| line.starts_with("mountlab: ")).collect();
    let [message] = messages[..] else { panic!("not one message: {outcome}") };
    for word in words {
        assert!(message.contains(word), "{word:?} is not said: {outcome}");
    }
    assert!(!folder.join("cache/mountlab/kind/clusters/mountlab").exists(), "a cluster was begun: {outcome}");
    assert!(!folder.join("report").exists(), "a report of nothing: {outcome}");
}

/// A folder with a `docker` that says `words` and fails.
fn docker_that_says(folder: &Path, words: &str) -> std::path::PathBuf {
    let programs = folder.join("programs");
    std::fs::create_dir(&programs).expect("a folder");
    let docker = programs.join("docker");
    std::fs::write(&docker, format!("#!/bin/sh\necho '{words}' >&2\nexit 1\n")).expect("a program");
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    programs
}

#[test]
fn without_docker() {
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = run(on_kind(folder.path()).env("PATH", folder.path()), LIMIT);
    refused(&outcome, folder.path(), &["there is no docker program", "apt-get install docker.io"]);
}

#[test]
fn without_permission_to_use_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock";
    let programs = docker_that_says(folder.path(), said);
    let outcome = run(on_kind(folder.path()).env("PATH", programs), LIMIT);
    refused(&outcome, folder.path(), &["you may not use the Docker daemon", said, "group docker"]);
}

#[test]
fn without_a_daemon_that_answers_or_could_be_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let programs = docker_that_says(folder.path(), "Cannot connect to the Docker daemon");
    let outcome = run(on_kind(folder.path()).env("PATH", programs), LIMIT);
    refused(
        &outcome,
        folder.path(),
        &["no Docker daemon can be used", "Cannot connect to the Docker daemon", "none can be started"],
    );
}

#[test]
fn on_a_disk_that_is_nearly_full() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    std::fs::create_dir(&cache).expect("a folder");
    // A small disk, in a namespace that ends with the program.
    let script = "mount -t tmpfs -o size=64m small \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(&cache);
    command.arg(program()).args(["run", SCENARIO, "--backend", "kind", "--report"]);
    command.arg(folder.path().join("report")).env("XDG_CACHE_HOME", &cache).current_dir(repository());
    let outcome = run(&mut command, LIMIT);
    refused(&outcome, folder.path(), &["the disk is nearly full", "make room for", "XDG_CACHE_HOME"]);
}
