//! The real program, as it runs in a sandbox: the helper's mounts, and what may be seen of envd's.

use std::process::Stdio;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use contract::names::drivers::OSS;
use csi_api::NodeUnpublishVolumeRequest;
use journal::Draft;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::support::csi::Behaviour;
use crate::support::enclosure::{Enclosure, assert_discreet};
use crate::support::soon;

#[tokio::test]
async fn the_helper_mounts_and_unmounts() {
    let enclosure = Enclosure::new();
    let config = BASE64_STANDARD.encode(enclosure.request().encode_to_vec());
    let mount = enclosure.start(&["storage", "mount", "--driver", OSS, "--config", &config], Stdio::null());
    let output = soon("the mount", mount.wait_with_output()).await.expect("ended");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && output.stdout.is_empty(), "{told}");
    assert_discreet(&told);
    let staging = std::fs::read_link(enclosure.path()).expect("a link");
    let published = enclosure.driver.published();
    assert_eq!(published[0].target_path, staging.to_string_lossy());
    assert_eq!(published[0].secrets, enclosure.request().secrets);
    assert_eq!(published[0].volume_context["csi.storage.k8s.io/pod.uid"], "pod-1");

    let request = NodeUnpublishVolumeRequest {
        volume_id: "oss-pv-abc123".into(),
        target_path: enclosure.path().to_string_lossy().into_owned(),
    };
    let config = BASE64_STANDARD.encode(request.encode_to_vec());
    let mut unmount = enclosure.start(&["storage", "unmount", "-d", OSS, "-c", "-"], Stdio::piped());
    let mut input = unmount.stdin.take().expect("piped");
    input.write_all(config.as_bytes()).await.expect("written");
    drop(input);
    let output = soon("the unmount", unmount.wait_with_output()).await.expect("ended");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!enclosure.path().is_symlink() && !staging.exists());
}

#[tokio::test]
async fn a_request_given_as_an_argument_is_hidden_before_the_driver_is_asked() {
    let enclosure = Enclosure::new();
    enclosure.driver.behave(Behaviour::Hangs);
    let config = BASE64_STANDARD.encode(enclosure.request().encode_to_vec());
    let mut mount = enclosure.start(&["storage", "mount", "-d", OSS, "-c", &config], Stdio::null());
    let asked = async {
        while enclosure.driver.published().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    soon("the driver to be asked", asked).await;
    let process = mount.id().expect("running");
    let line = std::fs::read_to_string(format!("/proc/{process}/cmdline")).expect("readable");
    assert!(line.contains("--config\0-\0"), "{line}");
    assert_discreet(&line);
    mount.kill().await.expect("killed");
}

/// A port that is free now.
async fn free_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").port()
}

async fn mounted(url: &str, enclosure: &Enclosure) -> Value {
    let body = json!({ "driver": OSS, "publishRequest": contract::publish::to_json(&enclosure.request()) });
    let client = reqwest::Client::new();
    let up = async { while client.get(format!("{url}/health")).send().await.is_err() {} };
    soon("envd", up).await;
    let answer = client.post(format!("{url}/v1/storage/mounts")).json(&body).send();
    soon("the mount", answer).await.expect("sent").json().await.expect("json")
}

#[tokio::test]
async fn envd_tells_the_journal_of_mounts_and_nothing_of_secrets() {
    let enclosure = Enclosure::new();
    let port = free_port().await;
    let mut envd = enclosure.start(&["agent-runtime", "envd", "--port", &port.to_string()], Stdio::null());
    let url = format!("http://127.0.0.1:{port}");
    assert_eq!(mounted(&url, &enclosure).await["success"], true);
    let problem = "-o access_key_id=x bad: SECRETS";
    enclosure.driver.behave(Behaviour::Fails(tonic::Code::Internal, problem));
    let failed = mounted(&url, &enclosure).await;
    assert_eq!(failed["success"], false);
    envd.start_kill().expect("killed");
    let output = soon("the end of envd", envd.wait_with_output()).await.expect("ended");
    let (log, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for text in [&*log, &*errors, &failed.to_string()] {
        assert_discreet(text);
    }
    let told = log.lines().filter_map(Draft::from_log_line).map(|draft| draft.kind).collect::<Vec<_>>();
    assert_eq!(told, ["mounted", "mount-failed"], "{errors}");
}
