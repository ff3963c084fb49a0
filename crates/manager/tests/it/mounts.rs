//! Mounts of a claim: what is asked of the runtime and what the caller is told.

use std::time::Duration;

use contract::names::annotations;
use kube::ResourceExt as _;
use kube::api::ListParams;
use rstest::rstest;
use serde_json::{Value, json};

use crate::envd::{Envd, Mount};
use crate::lab::{AK_ID, AK_SECRET, Lab, POOL, eventually};

const SECRET: fn() -> Value = || json!({"akId": AK_ID, "akSecret": AK_SECRET});

fn one_mount() -> Value {
    json!({
        "e2b.agents.kruise.io/csi-volume-name": "oss-pv",
        "e2b.agents.kruise.io/csi-mount-point": "/data-oss",
        "e2b.agents.kruise.io/csi-subpath": "data-subPath",
    })
}

fn list(mounts: &[(&str, &str)]) -> Value {
    let list: Vec<_> = mounts.iter().map(|(pv, path)| json!({"pvName": pv, "mountPath": path})).collect();
    json!({"e2b.agents.kruise.io/csi-volume-config": json!(list).to_string()})
}

/// A pool of one, with a volume and its Secret.
async fn ready(envd: &Envd, change: impl FnOnce(&mut manager::ManagerOptions)) -> Lab {
    let lab = Lab::with(change).await;
    lab.pool(POOL, &[envd]).await;
    lab.oss_volume("oss-pv").await;
    lab.oss_secret(SECRET()).await;
    lab
}

#[tokio::test]
async fn a_mount_is_resolved_delivered_and_remembered() {
    let envd = Envd::start().await;
    let lab = ready(&envd, |_| {}).await;
    let created = lab.create(json!({"metadata": one_mount()})).await;
    let asked = &envd.seen("/v1/storage/mounts")[0];
    assert_eq!(asked.token.as_deref(), created["envdAccessToken"].as_str());
    assert_eq!(asked.body["driver"], contract::names::drivers::OSS);
    let request = &asked.body["publishRequest"];
    assert_eq!(request["targetPath"], "/data-oss");
    assert_eq!(request["volumeContext"]["path"], "/data-subPath");
    assert_eq!(request["secrets"]["akId"], AK_ID);
    let sandbox = lab.sandboxes().get(&format!("{POOL}-0")).await.expect("there");
    let kept: Value =
        serde_json::from_str(&sandbox.annotations()[annotations::CSI_VOLUME_CONFIG]).expect("JSON");
    assert_eq!(kept, json!([{"pvName": "oss-pv", "mountPath": "/data-oss", "subPath": "data-subPath"}]));
    let shown = created["metadata"].as_object().expect("metadata");
    assert!(shown.keys().all(|key| !key.contains("csi")), "{shown:?}");
    assert_eq!(lab.milestones(), ["claimed", "initialised", "mounted"]);
    lab.assert_no_secret(&[&created]).await;
}

#[rstest]
#[case::driver_s_reason(&[Mount::Fails("rpc error: Internal: Invalid Credentials".into())], 500, "failed to perform csi mount: /data-oss: ")]
#[case::bucket(&[Mount::Fails("Bucket not found: demo".into())], 500, "Bucket not found")]
#[case::final_4xx(&[Mount::Refuses(400, "unsupported driver".into())], 500, "unsupported driver")]
#[case::driver_limit(&[Mount::DriverTimesOut], 504, "storage mount timed out: /data-oss (ossplugin.csi.alibabacloud.com)")]
#[case::hangs(&[Mount::Hangs], 504, "v1.35.4-3c34d4a-aliyun in ConfigMap sandbox-injection-config")]
#[case::echoed_secret(&[Mount::Fails(format!("bad key {AK_SECRET} of {AK_ID}"))], 500, "bad key [redacted] of [redacted]")]
#[tokio::test]
async fn a_failed_mount_fails_the_create_and_costs_the_sandbox(
    #[case] answers: &[Mount],
    #[case] expected: u16,
    #[case] phrase: &str,
) {
    let envd = Envd::start().await.answers_mounts(answers);
    let lab = ready(&envd, |options| options.mount_deadline = Duration::from_millis(300)).await;
    let body = json!({"templateID": POOL, "metadata": one_mount()});
    let request = lab.http.post(lab.url("/v2/sandboxes")).header("x-api-key", crate::lab::KEY).json(&body);
    let response = request.send().await.expect("an answer");
    let should_retry = response.headers().get("should-retry").cloned();
    let (status, error) = crate::lab::answer(response).await;
    assert_eq!(status, expected, "{error}");
    assert_eq!(error["code"], expected);
    assert!(error["message"].as_str().expect("text").contains(phrase), "{error}");
    assert_eq!(should_retry.is_some_and(|value| value == "false"), expected == 504);
    eventually("the sandbox is gone", || async {
        lab.sandboxes().list(&ListParams::default()).await.expect("a list").items.is_empty()
    })
    .await;
    assert_eq!(envd.seen("/v1/storage/unmounts").len(), 1);
    lab.assert_no_secret(&[&error]).await;
}

#[rstest]
#[case::busy(&[Mount::Refuses(503, "socket".into()), Mount::Refuses(500, "x".into())], 3)]
#[case::truncated(&[Mount::Truncated], 2)]
#[tokio::test]
async fn what_may_pass_is_tried_again(#[case] answers: &[Mount], #[case] tries: usize) {
    let envd = Envd::start().await.answers_mounts(answers);
    let lab = ready(&envd, |_| {}).await;
    lab.create(json!({"metadata": one_mount()})).await;
    let seen = envd.seen("/v1/storage/mounts");
    assert_eq!(seen.len(), tries);
    assert!(seen.iter().all(|it| it.body == seen[0].body), "the identical request, so that it is idempotent");
}

#[tokio::test]
async fn all_failures_are_told_in_the_order_of_the_request_and_siblings_are_rolled_back() {
    let answers = [Mount::Fails("first".into()), Mount::Succeeds, Mount::Fails("third".into())];
    let envd = Envd::start().await.answers_mounts(&answers);
    let lab = ready(&envd, |_| {}).await;
    let metadata = list(&[("oss-pv", "/a"), ("oss-pv", "/b"), ("oss-pv", "/c")]);
    let (status, error) = lab.post("/sandboxes", json!({"templateID": POOL, "metadata": metadata})).await;
    assert_eq!(status, 500, "{error}");
    let message = error["message"].as_str().expect("text");
    let (first, third) = (message.find("first").expect("told"), message.find("third").expect("told"));
    assert!(message.find("/a: ").expect("told") < message.find("/c: ").expect("told") && first != third);
    assert!(!message.contains("/b: "), "{message}");
    eventually("siblings are rolled back", || async { envd.seen("/v1/storage/unmounts").len() == 3 }).await;
}

#[rstest]
#[case("forever", true)]
#[case("1h", true)]
#[case("never", false)]
#[tokio::test]
async fn a_failed_sandbox_is_kept_when_asked_for(#[case] keep: &str, #[case] kept: bool) {
    let envd = Envd::start().await.answers_mounts(&[Mount::Fails("no".into())]);
    let lab = ready(&envd, |_| {}).await;
    let mut metadata = one_mount();
    metadata["e2b.agents.kruise.io/reserve-failed-sandbox-for"] = keep.into();
    let (status, _) = lab.post("/sandboxes", json!({"templateID": POOL, "metadata": metadata})).await;
    assert_eq!(status, 500);
    eventually("the claim is cleaned up", || async { lab.milestones().contains(&"cleaned".to_owned()) })
        .await;
    let sandbox = lab.sandboxes().get_opt(&format!("{POOL}-0")).await.expect("an answer");
    assert_eq!(sandbox.is_some(), kept);
    if let Some(sandbox) = sandbox {
        assert_eq!(sandbox.labels()[contract::names::labels::RESERVED_FAILED_SANDBOX], "true");
        assert_eq!(sandbox.spec.shutdown_time.is_some(), keep == "1h");
        assert_eq!(lab.get(&format!("/sandboxes/default--{POOL}-0")).await.0, 404);
    }
}

#[rstest]
#[case::unknown_volume(json!({"e2b.agents.kruise.io/csi-volume-name": "nope", "e2b.agents.kruise.io/csi-mount-point": "/d"}), "failed to get persistent volume object")]
#[case::name_that_is_no_name(json!({"e2b.agents.kruise.io/csi-volume-name": "../x", "e2b.agents.kruise.io/csi-mount-point": "/d"}), "failed to get persistent volume object")]
#[case::half_of_the_old_keys(json!({"e2b.agents.kruise.io/csi-volume-name": "oss-pv"}), "must exist together")]
#[case::relative_path(json!({"e2b.agents.kruise.io/csi-volume-name": "oss-pv", "e2b.agents.kruise.io/csi-mount-point": "d"}), "invalid containerMountPoint")]
#[case::sub_path_out(json!({"e2b.agents.kruise.io/csi-volume-name": "oss-pv", "e2b.agents.kruise.io/csi-mount-point": "/d", "e2b.agents.kruise.io/csi-subpath": "../x"}), "failed to merge and validate paths")]
#[case::no_array(json!({"e2b.agents.kruise.io/csi-volume-config": "{}"}), "csi-volume-config")]
#[case::misspelt(json!({"e2b.agents.kruise.io/csi-volume-nane": "x"}), "csi-volume-name")]
#[case::skip_init(json!({"e2b.agents.kruise.io/csi-volume-name": "oss-pv", "e2b.agents.kruise.io/csi-mount-point": "/d", "e2b.agents.kruise.io/skip-init-runtime": "true"}), "init runtime is required")]
#[tokio::test]
async fn what_can_be_checked_is_checked_before_a_sandbox_is_taken(
    #[case] metadata: Value,
    #[case] phrase: &str,
) {
    let envd = Envd::start().await;
    let lab = ready(&envd, |_| {}).await;
    let (status, error) = lab.post("/sandboxes", json!({"templateID": POOL, "metadata": metadata})).await;
    assert_eq!(status, 400, "{error}");
    assert!(error["message"].as_str().expect("text").contains(phrase), "{error}");
    assert_eq!(lab.available(POOL).await, 1, "the pool is untouched");
    assert!(envd.seen("/init").is_empty());
}

#[tokio::test]
async fn a_secret_without_a_key_is_named_and_its_values_are_not() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    lab.oss_volume("oss-pv").await;
    lab.oss_secret(json!({"akId": AK_ID})).await;
    let (status, error) = lab.post("/sandboxes", json!({"templateID": POOL, "metadata": one_mount()})).await;
    assert_eq!(status, 400, "{error}");
    assert!(error["message"].as_str().expect("text").contains("akSecret"), "{error}");
    lab.assert_no_secret(&[&error]).await;
}

#[tokio::test]
async fn a_template_without_the_csi_runtime_is_refused_early() {
    let lab = Lab::new().await;
    lab.set(POOL, &["agent-runtime"]).await;
    let (status, error) = lab.post("/sandboxes", json!({"templateID": POOL, "metadata": one_mount()})).await;
    assert_eq!((status, error["error_code"].as_str()), (400, Some("runtime-not-injected")), "{error}");
    assert!(error["message"].as_str().expect("text").contains("csi"));
}

#[tokio::test]
async fn a_manager_with_mounts_switched_off_answers_403() {
    let envd = Envd::start().await;
    let lab = ready(&envd, |options| options.mounts_allowed = false).await;
    let (status, error) = lab.post("/sandboxes", json!({"templateID": POOL, "metadata": one_mount()})).await;
    assert_eq!((status, error["error_code"].as_str()), (403, Some("mounts-not-allowed")), "{error}");
    assert_eq!(lab.available(POOL).await, 1, "the pool is untouched");
}

#[tokio::test]
async fn a_sandbox_that_serves_tls_is_never_talked_to_in_plain_text() {
    let envd = Envd::start().await;
    let lab = ready(&envd, |_| {}).await;
    let patch = json!({"metadata": {"annotations": {annotations::RUNTIME_TLS_PORT: "49984"}}});
    let patch = kube::api::Patch::Merge(patch);
    lab.sandboxes()
        .patch(&format!("{POOL}-0"), &kube::api::PatchParams::default(), &patch)
        .await
        .expect("patched");
    let (status, error) = lab.post("/sandboxes", json!({"templateID": POOL, "metadata": one_mount()})).await;
    assert_eq!(status, 500, "{error}");
    assert!(error["message"].as_str().expect("text").contains("no client certificates"), "{error}");
    assert!(envd.seen("/init").is_empty() && envd.seen("/v1/storage/mounts").is_empty());
}

/// A client whose reads of volumes fail as those of an API server in trouble do.
fn without_volumes(inner: kube::Client) -> kube::Client {
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let inner = inner.clone();
        async move {
            if !request.uri().path().contains("/persistentvolumes") {
                return inner.send(request).await;
            }
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503,
                "reason": "ServiceUnavailable", "message": "etcd at 10.0.0.1 is down",
            });
            let body = kube::client::Body::from(status.to_string().into_bytes());
            Ok(http::Response::builder().status(503).body(body).expect("an answer"))
        }
    });
    kube::Client::new(service, "default")
}

#[tokio::test]
async fn an_api_server_in_trouble_is_a_503_that_is_not_sent_again() {
    let envd = Envd::start().await;
    let lab = ready(&envd, |options| options.client = without_volumes(options.client.clone())).await;
    let body = json!({"templateID": POOL, "metadata": one_mount()});
    let request = lab.http.post(lab.url("/sandboxes")).header("x-api-key", crate::lab::KEY).json(&body);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["should-retry"], "false");
    let (status, error) = crate::lab::answer(response).await;
    assert_eq!((status, error["error_code"].as_str()), (503, Some("cluster-unavailable")), "{error}");
    assert!(!error["message"].as_str().expect("text").contains("etcd"), "internals stay in the log: {error}");
    assert_eq!(lab.available(POOL).await, 1, "the pool is untouched");
}
