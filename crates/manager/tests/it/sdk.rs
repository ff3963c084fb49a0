//! The official Python SDKs, unmodified, against the control plane: the newest and the oldest that has to work
//! (DECISIONS 13). They are installed into the target folder once.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rstest::rstest;

use crate::envd::{Envd, Mount};
use crate::lab::{AK_ID, AK_SECRET, KEY, Lab, POOL};

/// Longest run of one script.
const SCRIPT_LIMIT: Duration = Duration::from_secs(60);

/// One installation at a time: several tests want the same.
static INSTALLING: Mutex<()> = Mutex::new(());

/// A Python with the packages given, made once.
fn python(packages: &[&str]) -> PathBuf {
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let name = packages.join("-").replace("==", "-");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{name}"));
    let program = folder.join("bin/python");
    if !folder.join("complete").exists() {
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        succeed(Command::new(&program).args(["-m", "pip", "install", "--quiet"]).args(packages));
        std::fs::write(folder.join("complete"), "").expect("the target folder is writable");
    }
    program
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("python3 with venv is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn run(lab: &Lab, packages: &'static [&'static str], script: &'static str) -> Output {
    let url = lab.url("");
    let command = tokio::task::spawn_blocking(move || python(packages)).await.expect("no panic");
    let mut command = tokio::process::Command::new(command);
    command
        .args(["-c", script])
        .env("E2B_API_KEY", KEY)
        .env("E2B_API_URL", &url)
        .env("E2B_SANDBOX_URL", &url);
    command.env("POOL", POOL).kill_on_drop(true);
    tokio::time::timeout(SCRIPT_LIMIT, command.output())
        .await
        .expect("the script ends in time")
        .expect("it runs")
}

fn assert_success(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.ends_with("done\n"), "{out}{err}");
}

const NEWEST: &[&str] = &["e2b", "e2b-code-interpreter"];
const OLDER: &[&str] = &["e2b==2.20.0", "e2b-code-interpreter==2.4.1"];

/// What both SDKs can do.
const LIFE: &str = r#"
import datetime, os
from e2b_code_interpreter import Sandbox
from e2b import SandboxException, AuthenticationException

sandbox = Sandbox.create(template=os.environ["POOL"], timeout=300, metadata={"user": "ada b/c"}, envs={"A": "1"})
info = sandbox.get_info()
assert info.sandbox_id == sandbox.sandbox_id and info.state.value == "running", info
assert info.metadata["user"] == "ada b/c", info.metadata
left = (info.end_at - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
assert 250 < left <= 301, left

from e2b import SandboxQuery
def listed(metadata):
    found, pages = [], Sandbox.list(query=SandboxQuery(metadata=metadata))
    while pages.has_next:
        found += pages.next_items()
    return [item.sandbox_id for item in found]
assert listed({"user": "ada b/c"}) == [sandbox.sandbox_id]
assert listed({"user": "eve"}) == []

sandbox.set_timeout(1200)
again = Sandbox.connect(sandbox.sandbox_id)
assert again.sandbox_id == sandbox.sandbox_id
left = (again.get_info().end_at - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
assert left > 1000, left

assert sandbox.kill() is True
assert Sandbox.kill(sandbox.sandbox_id) is False
assert sandbox.is_running() is False
for call in (lambda: Sandbox.connect(sandbox.sandbox_id), lambda: sandbox.set_timeout(60), sandbox.get_info):
    try:
        call()
        raise AssertionError("a killed sandbox must not be found")
    except SandboxException as error:
        assert "not found" in str(error).lower(), error

try:
    Sandbox.create(template="no-such-template")
    raise AssertionError("an unknown template must be refused")
except SandboxException as error:
    assert "400" in str(error) and "no-such-template" in str(error), error

try:
    Sandbox.create(template=os.environ["POOL"], api_key="e2b_" + "0" * 40)
    raise AssertionError("a wrong key must be refused")
except AuthenticationException as error:
    assert "Invalid API Key" in str(error), error
print("done")
"#;

#[rstest]
#[case::newest(NEWEST)]
#[case::older(OLDER)]
#[tokio::test]
async fn a_sandbox_s_life(#[case] packages: &'static [&'static str]) {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    assert_success(&run(&lab, packages, LIFE).await);
}

/// The older SDK's way to ask for an automatic pause.
const BETA_CREATE: &str = r#"
import os
from e2b_code_interpreter import Sandbox
sandbox = Sandbox.beta_create(template=os.environ["POOL"], auto_pause=True, timeout=300)
assert sandbox.get_info().state.value == "running"
print("done")
"#;

#[tokio::test]
async fn beta_create_of_the_older_sdk() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    assert_success(&run(&lab, OLDER, BETA_CREATE).await);
    let sandbox = lab.sandboxes().get(&format!("{POOL}-0")).await.expect("there");
    assert!(sandbox.spec.pause_time.is_some());
}

/// A mount that never ends is an exception that says what to do, after exactly one request.
const TIMED_OUT: &str = r#"
import os
from e2b_code_interpreter import Sandbox
from e2b import SandboxException
try:
    Sandbox.create(template=os.environ["POOL"], metadata={
        "e2b.agents.kruise.io/csi-volume-name": "oss-pv",
        "e2b.agents.kruise.io/csi-mount-point": "/data",
    })
    raise AssertionError("the mount must time out")
except SandboxException as error:
    assert "504" in str(error) and "storage mount timed out" in str(error), error
print("done")
"#;

#[rstest]
#[case::newest(NEWEST)]
#[case::older(OLDER)]
#[tokio::test]
async fn a_hanging_mount_is_one_504(#[case] packages: &'static [&'static str]) {
    let lab = Lab::with(|options| options.mount_deadline = Duration::from_millis(300)).await;
    let envd = Envd::start().await.answers_mounts(&[Mount::Hangs]);
    lab.pool(POOL, &[&envd]).await;
    lab.oss_volume("oss-pv").await;
    lab.oss_secret(serde_json::json!({"akId": AK_ID, "akSecret": AK_SECRET})).await;
    assert_success(&run(&lab, packages, TIMED_OUT).await);
    let creates = lab
        .journal
        .entries()
        .iter()
        .filter(|entry| entry.kind == "POST /v2/sandboxes" || entry.kind == "POST /sandboxes")
        .count();
    assert_eq!(creates, 1, "the SDK must not send it again");
}
