//! No secret value shows, in no encoding (`storage.md` §10, `DECISIONS.md` row 16).
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use journal::secrecy::encodings;
use rstest::rstest;
use serde_json::json;
use system_tests::machine::{files, processes};
use system_tests::{Kubectl, Up, environment, mountlab, run};

/// How long a script or a run may take.
const LIMIT: Duration = Duration::from_mins(2);

const REQUIREMENTS: &[&str] = &["boto3", "e2b", "e2b-code-interpreter"];

/// The key of `scenarios/wrong-key.yaml`.
const SENTINELS: [&str; 2] = ["LTAISENTINELidSENTINEL01", "SENTINELsecretSENTINELsecret02"];

/// Fails when `text`, which came from `origin`, gives one of `secrets` away.
fn assert_silent(origin: &str, text: &str, secrets: &[String]) {
    for secret in secrets {
        for encoding in encodings(secret) {
            let Some(at) = text.find(&encoding) else { continue };
            let line = text[..at].lines().count();
            panic!("{origin} shows a secret as {encoding:?} in line {line}");
        }
    }
}

/// Every command line that any process had while `work` was done.
fn command_lines_during(work: impl FnOnce()) -> BTreeSet<String> {
    /// Ends the sampling, also when the work fails.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                seen.extend(processes().into_values().map(|process| process.command));
            }
            seen
        });
        let ending = Done(&done);
        work();
        drop(ending);
        sampler.join().expect("no panic")
    })
}

/// What people can look at: everything but the Secrets themselves.
fn assert_cluster_is_silent(kubectl: &Kubectl, secrets: &[String]) {
    let kinds = "sandboxsets,sandboxes,sandboxclaims,pods,events,configmaps,persistentvolumes";
    let objects = kubectl.call(&["get", kinds, "-A", "-o", "yaml", "--show-managed-fields"]);
    assert!(objects.contains("kind: Sandbox"), "the objects were not read");
    assert_silent("the API", &objects, secrets);
    for pod in kubectl.call(&["get", "pods", "-o", "name"]).lines() {
        let log = kubectl.call(&["logs", pod, "--all-containers", "--prefix"]);
        assert_silent(&format!("the log of {pod}"), &log, secrets);
    }
}

#[test]
fn a_lab_at_work_shows_no_key() {
    let mut lab = Up::start();
    let kubectl = lab.set_up_document_example();
    lab.set_up_nas();
    let mut secrets: Vec<String> =
        ["OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET"].map(|name| lab.variable(name).to_owned()).into();
    secrets.extend(SENTINELS.map(str::to_owned));
    let keys = |point: &str| {
        json!({
            "e2b.agents.kruise.io/csi-volume-name": "oss-pv-sandbox-system",
            "e2b.agents.kruise.io/csi-mount-point": point,
        })
    };
    let wrong = json!({"stringData": {"akId": SENTINELS[0], "akSecret": SENTINELS[1]}}).to_string();
    let patch = std::env::temp_dir().join(format!("mountlab-patch-{}.json", std::process::id()));
    std::fs::write(&patch, wrong).expect("written");

    let mut answers = String::new();
    let command_lines = command_lines_during(|| {
        let mut good = environment::python(REQUIREMENTS, "document_example.py");
        good.envs(lab.variables()).env("OSS_BUCKET", lab.bucket()).env("CREATE", "create");
        answers += &run(&mut good, LIMIT).expect_success();
        // a file, because the command line of kubectl would show the secret
        let file = patch.display().to_string();
        kubectl.call(&[
            "patch",
            "secret",
            "oss-secret",
            "-n",
            "sandbox-system",
            "--type=merge",
            "--patch-file",
            &file,
        ]);
        let mut bad = environment::python(REQUIREMENTS, "refused_creates.py");
        bad.envs(lab.variables()).env("CASES", json!({"wrong key": keys("/data-oss")}).to_string());
        answers += &run(&mut bad, LIMIT).expect_success();
    });
    std::fs::remove_file(&patch).expect("removed");

    assert!(
        command_lines.iter().any(|line| line.contains("csi-node")),
        "the sidecar's command line was not seen"
    );
    assert_silent("a command line", &Vec::from_iter(command_lines).join("\n"), &secrets);
    assert!(answers.contains("500"), "the wrong key was not refused: {answers}");
    assert_silent("an answer", &answers, &secrets);
    assert_cluster_is_silent(&kubectl, &secrets);
    lab.signal(nix::sys::signal::Signal::SIGINT);
    assert_silent("standard error of the lab", &lab.wait_for_end(), &secrets);
}

#[test]
fn a_report_shows_no_key() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut command = mountlab(&["run", "tests/scenarios/wrong-key.yaml", "--output", "json", "--report"]);
    let outcome = run(command.arg(folder.path()), LIMIT);
    assert_eq!(outcome.status, Some(0), "{outcome}");
    let secrets: Vec<String> = SENTINELS.map(str::to_owned).into();
    assert_silent("the output", &outcome.to_string(), &secrets);
    let files = files(folder.path());
    assert!(files.iter().any(|file| file.ends_with("journal.jsonl")), "no journal among {files:?}");
    for file in files {
        let bytes = std::fs::read(&file).expect("a file of the report");
        assert_silent(&file.display().to_string(), &String::from_utf8_lossy(&bytes), &secrets);
    }
}

/// The search itself finds a secret in whatever place it stands in an encoded text.
#[rstest]
#[case::plain("akSecret=SENTINELsecretSENTINELsecret02&")]
#[case::base64_aligned("U0VOVElORUxzZWNyZXRTRU5USU5FTHNlY3JldDAyeHh4")]
#[case::base64_shifted_by_one("eFNFTlRJTkVMc2VjcmV0U0VOVElORUxzZWNyZXQwMnh4")]
#[case::base64_shifted_by_two("eHhTRU5USU5FTHNlY3JldFNFTlRJTkVMc2VjcmV0MDJ4")]
#[should_panic(expected = "the example shows a secret")]
fn a_leak_is_found(#[case] text: &str) {
    assert_silent("the example", text, &[SENTINELS[1].to_owned()]);
}
