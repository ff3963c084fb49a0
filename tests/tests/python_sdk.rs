//! The product document's example with the official Python SDK, of the newest generation and of the last one that
//! has `beta_create` (`DECISIONS.md` row 13).
#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::process::Command;
use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use system_tests::{DOCUMENT_SET, Up, environment, run, wait_until};

const NEWEST: &[&str] = &["boto3", "e2b", "e2b-code-interpreter"];
const OLDER: &[&str] = &["boto3", "e2b==2.20.0", "e2b-code-interpreter==2.4.1"];

/// How long one script may take.
const SCRIPT_LIMIT: Duration = Duration::from_mins(2);

fn script(lab: &Up, requirements: &[&str], name: &str) -> Command {
    let mut command = environment::python(requirements, name);
    command.envs(lab.variables()).env("OSS_BUCKET", lab.bucket());
    command
}

#[rstest]
#[case::newest(NEWEST, "create")]
#[case::older(OLDER, "create")]
#[case::older_beta(OLDER, "beta_create")]
fn the_document_example(#[case] requirements: &[&str], #[case] create: &str) {
    let lab = Up::start();
    let kubectl = lab.set_up_document_example();
    lab.set_up_nas();
    let mut seen =
        run(script(&lab, requirements, "document_example.py").env("CREATE", create), SCRIPT_LIMIT).json();
    let raised = seen["pause with NAS"].take();
    let raised = raised.as_str().expect("pausing a sandbox with NAS raises");
    let words = "nas-pv-sandbox-system at /data-nas is NAS storage";
    assert!(raised.starts_with("400: ") && raised.contains(words), "{raised}");
    let expected = json!({
        "cat": "hello from OSS\n",
        "read": "hello from OSS\n",
        "command": "written by a command\n",
        "file": "written by the file API",
        "listed": ["command.txt", "folder", "hello.txt"],
        "csi keys in metadata": [],
        "paused": ["paused", false],
        "read after the wake-up": "hello from OSS\n",
        "pause with NAS": null,
        "NAS still running": true,
        "running": true,
        "killed": true,
        "running after kill": false,
        "still in the bucket": "hello from OSS\n",
    });
    assert_eq!(seen, expected);
    wait_until("pool refill deadline", Duration::from_secs(30), || {
        let set = kubectl.get(&["sandboxset", DOCUMENT_SET]);
        let available = &set["status"]["availableReplicas"];
        if *available == 4 { Ok(()) } else { Err(format!("availableReplicas is {available}")) }
    });
}

fn old_keys(volume: &str, point: &str) -> Value {
    json!({"e2b.agents.kruise.io/csi-volume-name": volume, "e2b.agents.kruise.io/csi-mount-point": point})
}

/// The message of every refusal reaches the user of the SDK, and none of them takes a sandbox from the pool.
#[test]
fn refusals_say_what_is_wrong() {
    let lab = Up::start();
    let kubectl = lab.set_up_document_example();
    let names = || kubectl.call(&["get", "sandboxes", "-o", "name"]);
    let before = names();
    let cases = json!({
        "unknown volume": old_keys("no-such-volume", "/data-oss"),
        "only one key": {"e2b.agents.kruise.io/csi-volume-name": "oss-pv-sandbox-system"},
        "relative path": old_keys("oss-pv-sandbox-system", "data-oss"),
        "malformed list": {"e2b.agents.kruise.io/csi-volume-config": "[{"},
        "unknown key": {"e2b.agents.kruise.io/csi-volume-nam": "oss-pv-sandbox-system"},
    });
    let raised =
        run(script(&lab, NEWEST, "refused_creates.py").env("CASES", cases.to_string()), SCRIPT_LIMIT).json();
    for (name, phrase) in [
        ("unknown volume", "no-such-volume"),
        ("only one key", "csi-mount-point"),
        ("relative path", "data-oss"),
        ("malformed list", "csi-volume-config"),
        ("unknown key", "csi-volume-nam"),
    ] {
        assert_eq!(raised[name]["type"], "SandboxException", "{raised:#}");
        let text = raised[name]["text"].as_str().expect("a text");
        assert!(text.starts_with("400: ") && text.contains(phrase), "{name}: {text}");
    }
    assert_eq!(names(), before, "a refused create took a sandbox from the pool");
}

/// A key that the object store doesn't know fails inside the sandbox: 500, with the storage's own words.
#[test]
fn a_wrong_access_key_is_told_to_the_user() {
    let lab = Up::start();
    let kubectl = lab.set_up_document_example();
    let secret = json!({"stringData": {"akId": "LTAIwrongwrongwrong", "akSecret": "wrong-secret-value"}});
    kubectl.call(&[
        "patch",
        "secret",
        "oss-secret",
        "-n",
        "sandbox-system",
        "--type=merge",
        "-p",
        &secret.to_string(),
    ]);
    let cases = json!({"wrong key": old_keys("oss-pv-sandbox-system", "/data-oss")});
    let raised =
        run(script(&lab, NEWEST, "refused_creates.py").env("CASES", cases.to_string()), SCRIPT_LIMIT).json();
    let text = raised["wrong key"]["text"].as_str().expect("a text");
    assert!(text.starts_with("500: ") && text.contains("Invalid Credentials"), "{text}");
    for secret in ["LTAIwrongwrongwrong", "wrong-secret-value"] {
        assert!(!text.contains(secret), "{text}");
    }
}
