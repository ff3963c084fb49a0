//! Installing, waiting, and the start script.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::support::{PROGRAM, soon};

async fn wait_for(directory: &std::path::Path) {
    let mut wait = Command::new(PROGRAM);
    let status = wait.args(["agent-runtime", "wait", "--dir"]).arg(directory).status();
    assert!(soon("the installation", status).await.expect("ran").success());
}

async fn terminate(mut child: Child) -> Option<i32> {
    let pid = Pid::from_raw(child.id().expect("running").cast_signed());
    kill(pid, Signal::SIGTERM).expect("signalled");
    soon("the end of the sidecar", child.wait()).await.expect("waited for").code()
}

#[tokio::test]
async fn the_sidecar_installs_idles_and_ends_when_asked() {
    let place = tempfile::tempdir().expect("a directory");
    let directory = place.path().join("envd");
    let mut sidecar = Command::new(PROGRAM);
    sidecar.args(["install", "--dir"]).arg(&directory).stdout(Stdio::null()).kill_on_drop(true);
    let sidecar = sidecar.spawn().expect("started");
    wait_for(&directory).await;
    let helper = Command::new(directory.join("sandbox-runtime-storage")).arg("version").output();
    let helper = soon("the helper", helper).await.expect("ran");
    assert!(String::from_utf8_lossy(&helper.stdout).starts_with("sandbox-storage "));
    assert_eq!(terminate(sidecar).await, Some(0));
}

#[tokio::test]
async fn waiting_ends_with_what_is_missing() {
    let place = tempfile::tempdir().expect("a directory");
    let wait = Command::new(PROGRAM).args(["wait", "--timeout", "0.05", "--dir"]).arg(place.path()).output();
    let output = soon("the wait", wait).await.expect("ran");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("envd-run.sh is not there"), "{output:?}");
}

/// Runs the script as a postStart hook does, in namespaces of its own so that port, accounts and processes are its own.
const HOOK: &str = r#"
set -e
ip link set lo up 2>/dev/null || ifconfig lo up
mount -t tmpfs tmpfs /home
cp -a /etc "$PLACE/etc" && mount --bind "$PLACE/etc" /etc
bash "$ENVD_DIR/envd-run.sh"
bash "$ENVD_DIR/envd-run.sh" -- bash -c 'echo "hook: $0 $*"' one 'two words'
status=0
bash "$ENVD_DIR/envd-run.sh" -- bash -c 'exit 7' || status=$?
echo "failing hook: $status"
echo "agents: $(pgrep -xc mountlab)"
echo "account: $(getent passwd user | cut -d: -f6)"
"#;

#[tokio::test]
async fn the_hook_starts_envd_once_and_runs_what_follows() {
    let place = tempfile::tempdir().expect("a directory");
    let directory = place.path().join("envd");
    let mut sidecar = Command::new(PROGRAM);
    sidecar.args(["install", "--dir"]).arg(&directory).stdout(Stdio::null()).kill_on_drop(true);
    let sidecar = sidecar.spawn().expect("started");
    wait_for(&directory).await;
    let mut hook = Command::new("unshare");
    hook.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", HOOK]);
    hook.env("PLACE", place.path()).env("ENVD_DIR", &directory).kill_on_drop(true);
    let output = soon("the hook", hook.output()).await.expect("ran");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>();
    let expected = ["hook: one two words", "failing hook: 7", "agents: 1", "account: /home/user"];
    assert_eq!(lines, expected, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(terminate(sidecar).await, Some(0));
}
