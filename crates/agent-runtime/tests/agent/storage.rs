//! `/v1/storage/mounts` and `/v1/storage/unmounts`.

use std::path::PathBuf;
use std::time::Duration;

use contract::names::drivers::OSS;
use contract::paths::staging_directory;
use contract::publish::to_json;
use csi_api::NodePublishVolumeRequest;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::csi::{Behaviour, Driver, socket};
use crate::support::{Sandbox, soon};

const SECRET: &str = "s3cr3t-access-key";

struct Mounts {
    sandbox: Sandbox,
    driver: Driver,
}

impl Mounts {
    async fn start() -> Self {
        let sandbox = Sandbox::start().await;
        let driver = Driver::start(&sandbox);
        Self { sandbox, driver }
    }

    /// The user's path, as text.
    fn path(&self) -> String {
        self.sandbox.path("data-oss")
    }

    fn link(&self) -> PathBuf {
        self.path().into()
    }

    fn staging(&self) -> PathBuf {
        self.sandbox.place.path().join("mount-root").join(staging_directory(OSS, &self.path()))
    }

    fn request(&self) -> NodePublishVolumeRequest {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        NodePublishVolumeRequest {
            volume_id: "oss-pv-abc123".into(),
            target_path: self.path(),
            secrets: pairs(&[("akId", "AKID-of-test"), ("akSecret", SECRET)]),
            volume_context: pairs(&[("bucket", "demo"), ("url", "http://oss.example"), ("path", "/sub")]),
            ..NodePublishVolumeRequest::default()
        }
    }

    async fn send(&self, driver: &str, request: Value) -> (u16, Value) {
        let (status, text) = post(
            &self.sandbox,
            "mounts",
            &json!({ "driver": driver, "publishRequest": request }).to_string(),
        )
        .await;
        (status, serde_json::from_str(&text).expect("json"))
    }

    async fn mount(&self) -> (u16, Value) {
        self.send(OSS, to_json(&self.request())).await
    }

    async fn mounted(&self) {
        let (status, answer) = self.mount().await;
        assert_eq!((status, &answer), (200, &json!({ "success": true, "mountPath": self.staging() })));
        assert_eq!(std::fs::read_link(self.link()).expect("a link"), self.staging());
    }

    /// A mount that must fail for good with `code`, telling `phrase`.
    async fn refused(&self, code: &str, phrase: &str) {
        let (status, answer) = self.mount().await;
        assert_eq!(
            (status, &answer["success"], &answer["code"]),
            (200, &json!(false), &json!(code)),
            "{answer}"
        );
        let message = answer["message"].as_str().expect("a message");
        assert!(message.contains(phrase), "{message}");
        assert!(!message.contains(SECRET), "{message}");
    }
}

async fn post(sandbox: &Sandbox, route: &str, body: &str) -> (u16, String) {
    let request = sandbox.request(Method::POST, &format!("/v1/storage/{route}"));
    let request = request.header("Content-Type", "application/json").body(body.to_owned());
    let answer = soon("an answer", request.send()).await.expect("sent");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

#[tokio::test]
async fn a_wrong_token_is_told_as_error_too() {
    let sandbox = Sandbox::start_with_token("tok-1").await;
    for route in ["mounts", "unmounts"] {
        let request = sandbox.anonymous(Method::POST, &format!("/v1/storage/{route}")).body("{}");
        let answer = request.send().await.expect("sent");
        assert_eq!(answer.status(), 401);
        let body = crate::support::body(answer).await;
        assert_eq!((&body["code"], body["error"].is_string()), (&json!(401), true));
    }
}

#[tokio::test]
async fn a_mount_is_completed_delivered_and_linked() {
    let mounts = Mounts::start().await;
    mounts.mounted().await;
    let published = mounts.driver.published();
    let mut expected = mounts.request();
    expected.target_path = mounts.staging().to_string_lossy().into_owned();
    expected.volume_context.insert("csi.storage.k8s.io/pod.uid".into(), "pod-1".into());
    assert_eq!(published, [expected]);
}

#[tokio::test]
async fn a_repeated_mount_succeeds_and_changes_nothing() {
    let mounts = Mounts::start().await;
    mounts.mounted().await;
    mounts.mounted().await;
    assert!(mounts.driver.unpublished().is_empty());
    let other = NodePublishVolumeRequest { volume_id: "oss-pv-xyz789".into(), ..mounts.request() };
    let (_, answer) = mounts.send(OSS, to_json(&other)).await;
    assert_eq!(answer["success"], true, "the volume id is new in every request");
}

#[rstest]
#[case::another_bucket(|request: &mut NodePublishVolumeRequest| drop(request.volume_context.insert("bucket".into(), "other".into())))]
#[case::read_only(|request: &mut NodePublishVolumeRequest| request.readonly = true)]
#[tokio::test]
async fn another_volume_in_the_same_place_is_refused(#[case] change: fn(&mut NodePublishVolumeRequest)) {
    let mounts = Mounts::start().await;
    mounts.mounted().await;
    let mut request = mounts.request();
    change(&mut request);
    let (status, answer) = mounts.send(OSS, to_json(&request)).await;
    assert_eq!((status, &answer["success"], &answer["code"]), (200, &json!(false), &json!("AlreadyExists")));
    assert_eq!(mounts.driver.published().len(), 1);
}

#[tokio::test]
async fn requests_at_the_same_time_make_one_link() {
    let mounts = Mounts::start().await;
    let all = soon("all mounts", futures::future::join_all((0..8).map(|_| mounts.mount()))).await;
    assert!(all.iter().all(|(status, answer)| *status == 200 && answer["success"] == true), "{all:?}");
    assert_eq!(std::fs::read_link(mounts.link()).expect("a link"), mounts.staging());
}

#[rstest]
#[case::no_json("{", "no JSON")]
#[case::no_driver(r#"{"publishRequest": {}}"#, "driver is required")]
#[case::null(
    r#"{"driver": "ossplugin.csi.alibabacloud.com", "publishRequest": null}"#,
    "csi publish request is required"
)]
#[case::absent(r#"{"driver": "ossplugin.csi.alibabacloud.com"}"#, "csi publish request is required")]
#[case::text(r#"{"driver": "ossplugin.csi.alibabacloud.com", "publishRequest": "czNjcjN0"}"#, "")]
#[case::misspelt(
    r#"{"driver": "ossplugin.csi.alibabacloud.com", "publishRequest": {"secretz": {"akSecret": "s3cr3t"}}}"#,
    "secretz"
)]
#[case::unknown_driver(
    r#"{"driver": "csi.example", "publishRequest": {"targetPath": "/data"}}"#,
    "unsupported storage driver"
)]
#[tokio::test]
async fn a_body_that_isnt_understood_is_400(#[case] body: &str, #[case] phrase: &str) {
    let sandbox = Sandbox::start().await;
    let (status, answer) = post(&sandbox, "mounts", body).await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer.contains("\"success\":false") && answer.contains(phrase), "{answer}");
    assert!(!answer.contains("s3cr3t"), "{answer}");
}

#[rstest]
#[case::nothing("", "cannot be empty")]
#[case::relative("data", "must start with '/'")]
#[case::the_root("/", "root directory")]
#[case::the_kernels("/proc/data", "reserved")]
#[case::the_machinery("/mnt/envd", "reserved")]
#[tokio::test]
async fn paths_that_cant_be_mounted(#[case] path: &str, #[case] phrase: &str) {
    let mounts = Mounts::start().await;
    let request = NodePublishVolumeRequest { target_path: path.into(), ..mounts.request() };
    let (status, answer) = mounts.send(OSS, to_json(&request)).await;
    assert_eq!((status, &answer["code"]), (200, &json!("InvalidArgument")));
    assert!(answer["message"].as_str().expect("a message").contains(phrase), "{answer}");
    assert!(mounts.driver.published().is_empty());
}

#[tokio::test]
async fn what_is_in_the_way_is_found_before_anything_is_mounted() {
    let mounts = Mounts::start().await;
    std::fs::create_dir_all(mounts.link().join("content")).expect("made");
    mounts.refused("FailedPrecondition", "directory is not empty").await;
    std::fs::remove_dir_all(mounts.link()).expect("removed");
    std::os::unix::fs::symlink("/usr", mounts.link()).expect("made");
    mounts.refused("FailedPrecondition", "symbolic link of the image").await;
    assert!(mounts.driver.published().is_empty());
    assert!(!mounts.staging().exists());
}

#[tokio::test]
async fn a_sandbox_without_the_runtime_csi_says_so() {
    let mounts = Mounts::start().await;
    std::fs::write(mounts.sandbox.place.path().join("mounts"), "proc /proc proc rw 0 0\n").expect("written");
    mounts.refused("FailedPrecondition", "not found").await;
}

#[tokio::test]
async fn missing_attributes_are_named_without_asking_the_driver() {
    let mounts = Mounts::start().await;
    for (missing, phrase) in [("bucket", "bucket"), ("url", "url"), ("akSecret", "akSecret")] {
        let mut request = mounts.request();
        request.volume_context.remove(missing);
        request.secrets.remove(missing);
        let (_, answer) = mounts.send(OSS, to_json(&request)).await;
        assert_eq!(answer["code"], "InvalidArgument");
        assert!(answer["message"].as_str().expect("a message").contains(phrase), "{answer}");
    }
    assert!(mounts.driver.published().is_empty());
}

#[rstest]
#[case(
    Code::Internal,
    "Invalid Credentials for SECRETS",
    "Internal: Invalid Credentials for [redacted] [redacted]"
)]
#[case(Code::Internal, "mount -o access_key_id=abc,ro failed", "access_key_id=[redacted],ro failed")]
#[case(Code::InvalidArgument, "Url/Bucket empty", "InvalidArgument: Url/Bucket empty")]
#[case(Code::Aborted, "already an operation", "Aborted")]
#[tokio::test]
async fn the_drivers_failure_is_told_without_secrets(
    #[case] code: Code,
    #[case] text: &'static str,
    #[case] phrase: &str,
) {
    let mounts = Mounts::start().await;
    mounts.driver.behave(Behaviour::Fails(code, text));
    mounts.refused(&format!("{code:?}"), phrase).await;
    let (_, answer) = mounts.mount().await;
    let message = answer["message"].as_str().expect("a message");
    assert!(
        message.starts_with("mount failed for driver ossplugin")
            && message.contains("NodePublishVolume failed"),
        "{message}"
    );
    assert!(!mounts.link().is_symlink());
    mounts.driver.behave(Behaviour::Mounts);
    mounts.mounted().await;
}

#[tokio::test]
async fn a_driver_that_is_unavailable_is_worth_another_try() {
    let mounts = Mounts::start().await;
    mounts.driver.behave(Behaviour::Fails(Code::Unavailable, "starting"));
    let (status, answer) = mounts.mount().await;
    assert_eq!((status, &answer["success"], &answer["code"]), (503, &json!(false), &json!("Unavailable")));
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_worth_another_try() {
    let sandbox = Sandbox::start().await;
    let listener = tokio::net::UnixListener::bind(socket(&sandbox)).expect("a socket");
    let closer = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut some = [0; 64];
            tokio::io::AsyncReadExt::read(&mut stream, &mut some).await.expect("readable");
        }
    });
    let request = json!({
        "volumeId": "v", "targetPath": sandbox.path("data"),
        "volumeContext": { "bucket": "b", "url": "u" }, "secrets": { "akId": "i", "akSecret": "s" },
    });
    let body = json!({ "driver": OSS, "publishRequest": request }).to_string();
    let (status, answer) = post(&sandbox, "mounts", &body).await;
    assert_eq!(status, 503, "{answer}");
    closer.abort();
}

#[tokio::test]
async fn silence_is_a_deadline_and_a_late_mount_is_taken_back() {
    let sandbox =
        Sandbox::start_with(|options| options.storage.call_limit = Duration::from_millis(300)).await;
    let driver = Driver::start(&sandbox);
    let mounts = Mounts { sandbox, driver };
    mounts.driver.behave(Behaviour::Hangs);
    mounts.refused("DeadlineExceeded", "no answer within 300ms").await;
    let undone = async {
        while mounts.driver.unpublished().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    soon("the undoing", undone).await;
    assert_eq!(mounts.driver.unpublished()[0].target_path, mounts.staging().to_string_lossy());
    mounts.driver.behave(Behaviour::Mounts);
    mounts.mounted().await;
}

#[tokio::test]
async fn a_mount_that_hangs_gives_way_to_its_unmount() {
    let mounts = Mounts::start().await;
    mounts.driver.behave(Behaviour::Hangs);
    let unmount = async {
        while mounts.driver.published().is_empty() {
            tokio::task::yield_now().await;
        }
        let request = json!({ "volumeId": "oss-pv-abc123", "targetPath": mounts.path() });
        let body = json!({ "driver": OSS, "unpublishRequest": request }).to_string();
        post(&mounts.sandbox, "unmounts", &body).await
    };
    let both = futures::future::join(mounts.mount(), unmount);
    let ((_, mounted), unmounted) = soon("both answers", both).await;
    assert_eq!((&mounted["success"], &mounted["code"]), (&json!(false), &json!("Aborted")), "{mounted}");
    assert_eq!(unmounted, (200, r#"{"success":true}"#.to_owned()), "asked again while the driver is busy");
    assert_eq!(mounts.driver.unpublished().len(), 2);
    assert!(!mounts.link().is_symlink() && !mounts.staging().exists());
    mounts.driver.behave(Behaviour::Mounts);
    mounts.mounted().await;
}

#[tokio::test]
async fn a_socket_is_waited_for() {
    let sandbox = Sandbox::start().await;
    let socket = socket(&sandbox);
    let request = json!({
        "volumeId": "v", "targetPath": sandbox.path("data"),
        "volumeContext": { "bucket": "b", "url": "u" }, "secrets": { "akId": "i", "akSecret": "s" },
    });
    let body = json!({ "driver": OSS, "publishRequest": request }).to_string();
    let mut mount = std::pin::pin!(post(&sandbox, "mounts", &body));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut mount).await;
    early.expect_err("there is no socket yet");
    let driver = Driver::start_at(&socket);
    let (status, answer) = mount.await;
    assert_eq!(status, 200);
    assert!(answer.contains("\"success\":true"), "{answer}");
    assert_eq!(driver.published().len(), 1);
}

#[tokio::test]
async fn a_socket_that_never_comes_is_a_deadline() {
    let sandbox =
        Sandbox::start_with(|options| options.storage.call_limit = Duration::from_millis(100)).await;
    let request = json!({
        "volumeId": "v", "targetPath": sandbox.path("data"),
        "volumeContext": { "bucket": "b", "url": "u" }, "secrets": { "akId": "i", "akSecret": "s" },
    });
    let (status, answer) =
        post(&sandbox, "mounts", &json!({ "driver": OSS, "publishRequest": request }).to_string()).await;
    assert_eq!(status, 200);
    assert!(answer.contains("DeadlineExceeded") && answer.contains("csi.sock"), "{answer}");
}

/// More than a command line of Linux can carry (`storage.md` §9 row 73).
#[tokio::test]
async fn a_large_request_is_delivered_whole() {
    let mounts = Mounts::start().await;
    let mut request = mounts.request();
    let ballast = "x".repeat(200 * 1024);
    request.secrets.insert("ballast".into(), ballast.clone());
    let (_, answer) = mounts.send(OSS, to_json(&request)).await;
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(mounts.driver.published()[0].secrets.get("ballast"), Some(&ballast));
}

#[tokio::test]
async fn a_mount_that_cant_be_linked_is_taken_back() {
    let mounts = Mounts::start().await;
    mounts.driver.behave(Behaviour::Lies);
    mounts.refused("FailedPrecondition", "target does not exist").await;
    let unpublished = mounts.driver.unpublished();
    assert_eq!(unpublished.len(), 1);
    assert_eq!(
        (unpublished[0].volume_id.as_str(), unpublished[0].target_path.as_str()),
        ("oss-pv-abc123", mounts.staging().to_str().expect("text"))
    );
    assert!(!mounts.link().is_symlink());
}

#[tokio::test]
async fn unmounting_takes_everything_back_and_can_be_repeated() {
    let mounts = Mounts::start().await;
    mounts.mounted().await;
    let request = json!({ "volumeId": "oss-pv-abc123", "targetPath": mounts.path() });
    let body = json!({ "driver": OSS, "unpublishRequest": request }).to_string();
    for _ in 0..2 {
        let answer = post(&mounts.sandbox, "unmounts", &body).await;
        assert_eq!(answer, (200, r#"{"success":true}"#.to_owned()));
        assert!(!mounts.link().is_symlink() && !mounts.staging().exists());
    }
    let targets =
        mounts.driver.unpublished().into_iter().map(|request| request.target_path).collect::<Vec<_>>();
    let staging = mounts.staging().to_string_lossy().into_owned();
    assert_eq!(targets, [staging.clone(), staging]);
    let mut other = mounts.request();
    other.readonly = true;
    let (_, answer) = mounts.send(OSS, to_json(&other)).await;
    assert_eq!(answer["success"], true, "the place is free again");
}

#[tokio::test]
async fn a_link_that_is_kept_leads_nowhere_until_it_is_mounted_again() {
    let mounts = Mounts::start().await;
    mounts.mounted().await;
    let request = json!({ "volumeId": "oss-pv-abc123", "targetPath": mounts.path() });
    let body = json!({ "driver": OSS, "unpublishRequest": request, "keepLink": true }).to_string();
    for _ in 0..2 {
        let answer = post(&mounts.sandbox, "unmounts", &body).await;
        assert_eq!(answer, (200, r#"{"success":true}"#.to_owned()));
        assert!(mounts.link().is_symlink() && !mounts.staging().exists());
    }
    let refused = std::fs::create_dir(mounts.link()).expect_err("nothing can be made there");
    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    mounts.mounted().await;
    assert!(mounts.link().is_dir());
}

#[tokio::test]
async fn unmounting_keeps_data_and_what_isnt_a_link() {
    let mounts = Mounts::start().await;
    std::fs::create_dir_all(mounts.staging().join("customer-data")).expect("made");
    std::fs::create_dir(mounts.link()).expect("made");
    let request = json!({ "volumeId": "v", "targetPath": mounts.path() });
    let (status, _) =
        post(&mounts.sandbox, "unmounts", &json!({ "driver": OSS, "unpublishRequest": request }).to_string())
            .await;
    assert_eq!(status, 200);
    assert!(mounts.staging().join("customer-data").is_dir() && mounts.link().is_dir());
}

#[rstest]
#[case(json!({ "driver": OSS, "unpublishRequest": { "volumeId": "v" } }))]
#[case(json!({ "driver": OSS, "unpublishRequest": { "targetPath": "/data" } }))]
#[case(json!({ "driver": OSS }))]
#[case(json!({ "driver": "csi.example", "unpublishRequest": { "volumeId": "v", "targetPath": "/data" } }))]
#[tokio::test]
async fn an_unmount_needs_all_its_parts(#[case] body: Value) {
    let sandbox = Sandbox::start().await;
    assert_eq!(post(&sandbox, "unmounts", &body.to_string()).await.0, 400);
}
