//! The official SDKs, from their registries, against envd. They get the sandbox from a control plane that knows one
//! answer.

use std::path::{Path, PathBuf};

use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use rstest::rstest;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::Sandbox;

/// The SDK installs itself once per version, below the build's own folder.
const INSTALLED: &str = env!("CARGO_TARGET_TMPDIR");
/// The limit of an installation, and of a run: registries and interpreters are slower than envd.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(300);

async fn run(what: &str, command: &mut Command) -> String {
    command.kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{what} took longer than {LIMIT:?}")).expect("started");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}

/// A folder of an SDK, and whether it has to be filled.
fn folder(name: &str) -> (PathBuf, bool) {
    let folder = Path::new(INSTALLED).join(name);
    let missing = !folder.join("complete").exists();
    std::fs::create_dir_all(&folder).expect("made");
    (folder, missing)
}

fn complete(folder: &Path) {
    std::fs::write(folder.join("complete"), "").expect("written");
}

async fn python(version: &str) -> PathBuf {
    let (folder, missing) = folder(&format!("python-e2b-{version}"));
    if missing {
        run("the virtual environment", Command::new("python3").args(["-m", "venv"]).arg(&folder)).await;
        let mut pip = Command::new(folder.join("bin/pip"));
        run("the installation of the SDK", pip.args(["install", "--quiet", &format!("e2b=={version}")]))
            .await;
        complete(&folder);
    }
    folder.join("bin/python")
}

async fn javascript(version: &str) -> PathBuf {
    let (folder, missing) = folder(&format!("javascript-e2b-{version}"));
    if missing {
        std::fs::write(folder.join("package.json"), "{}").expect("written");
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", &format!("e2b@{version}")]).current_dir(&folder);
        run("the installation of the SDK", &mut npm).await;
        complete(&folder);
    }
    folder
}

/// A control plane that has one sandbox; its address.
async fn control_plane() -> String {
    let created = json!({
        "sandboxID": "default--one", "templateID": "any", "clientID": "lab", "alias": "any",
        "envdVersion": agent_runtime::ENVD_VERSION, "envdAccessToken": "tok-1", "domain": "sbx.localhost",
    });
    let create = post(async move || (StatusCode::CREATED, Json(created)));
    let router = Router::new().route("/v2/sandboxes", create.clone()).route("/sandboxes", create);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
    format!("http://{address}")
}

async fn check(sandbox: &Sandbox, mut command: Command) {
    command
        .env("E2B_API_KEY", format!("e2b_{}", "0".repeat(40)))
        .env("E2B_API_URL", control_plane().await)
        .env("E2B_SANDBOX_URL", format!("http://{}", sandbox.address))
        .env("SANDBOX_HOME", sandbox.home());
    let held = run("the check", &mut command).await;
    assert_eq!(held.lines().last(), Some("all held"), "{held}");
}

#[rstest]
#[case::newest("2.63.0")]
#[case::of_the_product_document("2.20.0")]
#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_works(#[case] version: &str) {
    let sandbox = Sandbox::start_with_token("tok-1").await;
    let mut command = Command::new(python(version).await);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/check.py"));
    check(&sandbox, command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_works() {
    let sandbox = Sandbox::start_with_token("tok-1").await;
    let root = javascript("2.51.0").await;
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/check.mjs")).env("SDK_ROOT", root);
    check(&sandbox, command).await;
}
