//! The program `sandbox-runtime-storage`.

use std::process::Stdio;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use csi_api::NodePublishVolumeRequest;
use prost::Message as _;
use rstest::rstest;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::{PROGRAM, soon};

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn run(arguments: &[&str], input: &str, pod_uid: Option<&str>) -> Outcome {
    let mut command = Command::new(PROGRAM);
    command.arg("storage").args(arguments).env_remove("POD_UID").kill_on_drop(true);
    command.envs(pod_uid.map(|uid| ("POD_UID", uid)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    // A helper that doesn't read its input may have ended by now.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = soon("the helper", child.wait_with_output()).await.expect("ended");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn encoded(request: &NodePublishVolumeRequest) -> String {
    BASE64_STANDARD.encode(request.encode_to_vec())
}

fn request(target: &str) -> NodePublishVolumeRequest {
    NodePublishVolumeRequest {
        target_path: target.into(),
        secrets: [("akSecret".to_owned(), "s3cr3t-access-key".to_owned())].into(),
        ..NodePublishVolumeRequest::default()
    }
}

const OSS: &str = contract::names::drivers::OSS;

#[rstest]
#[case::no_subcommand(&[], 0, "Usage: sandbox-storage")]
#[case::help(&["--help"], 0, "Usage: sandbox-storage")]
#[case::version(&["version"], 0, "sandbox-storage 0.")]
#[tokio::test]
async fn help_is_a_success(#[case] arguments: &[&str], #[case] code: i32, #[case] phrase: &str) {
    let outcome = run(arguments, "", None).await;
    assert_eq!(outcome.code, Some(code));
    assert!(outcome.stdout.contains(phrase), "{}", outcome.stdout);
}

#[rstest]
#[case::unknown_subcommand(&["dance"])]
#[case::unknown_flag(&["mount", "--dance"])]
#[tokio::test]
async fn wrong_usage_is_1(#[case] arguments: &[&str]) {
    let outcome = run(arguments, "", None).await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""));
    assert!(outcome.stderr.contains("wrong usage"), "{}", outcome.stderr);
}

#[rstest]
#[case::no_base64("***", "failed to decode CSI request config")]
#[case::no_protobuf("/////w==", "failed to unmarshal CSI request")]
#[case::no_pod("", "Pod UID is required")]
#[tokio::test]
async fn a_config_that_cant_be_used(#[case] config: &str, #[case] phrase: &str) {
    let outcome = run(&["mount", "--driver", OSS, "--config", "-"], config, None).await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""));
    assert!(outcome.stderr.contains(phrase), "{}", outcome.stderr);
}

#[rstest]
#[case::nothing("", OSS, "cannot be empty")]
#[case::no_runtime("/data-oss", OSS, "failed to find valid mount path")]
#[case::no_driver("/data-oss", "csi.example", "unsupported storage driver")]
#[tokio::test]
async fn a_mount_that_cant_be_made(
    #[case] target: &str,
    #[case] driver: &str,
    #[case] phrase: &str,
    #[values(true, false)] as_flag: bool,
) {
    let config = encoded(&request(target));
    let name = ["-m", "mount-root-that-nobody-has"];
    let given = if as_flag { config.as_str() } else { "-" };
    let arguments = [&["mount", "-d", driver, "-c", given, "--debug"][..], &name].concat();
    let outcome = run(&arguments, &config, Some("pod-1")).await;
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains(phrase), "{}", outcome.stderr);
    for secret in journal::secrecy::encodings("s3cr3t-access-key") {
        assert!(!outcome.stderr.contains(&secret), "{}", outcome.stderr);
    }
}
