//! Pause and wake-up through the API; the test says what the controller would.

use clock::Clock as _;
use contract::names::drivers;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, PersistentVolume};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use rstest::rstest;
use serde_json::{Value, json};

use crate::envd::Envd;
use crate::lab::{AK_ID, AK_SECRET, Lab, POOL, eventually};

const NAME: &str = "code-interpreter-0";
const KEPT: &str = "x-e2b-kruise-reserve-paused-sandbox-duration";

/// A lab with one claimed sandbox, and its id.
async fn one(body: Value) -> (Lab, Envd, String) {
    one_with(body, |_| {}).await
}

async fn one_with(body: Value, change: impl FnOnce(&mut manager::ManagerOptions)) -> (Lab, Envd, String) {
    let (lab, envd) = (Lab::with(change).await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    let created = lab.create(body).await;
    let id = created["sandboxID"].as_str().expect("an id").to_owned();
    (lab, envd, id)
}

/// What the controller says: phase, and conditions as (type, status, reason).
async fn say(lab: &Lab, phase: &str, conditions: &[(&str, bool, &str)]) {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(kind, is_true, reason)| {
            json!({"type": kind, "status": if *is_true { "True" } else { "False" }, "reason": reason,
                "message": format!("said of {kind}"), "lastTransitionTime": "2026-01-01T00:00:00Z"})
        })
        .collect();
    let generation = lab.sandboxes().get(NAME).await.expect("there").metadata.generation;
    let status = json!({"phase": phase, "conditions": conditions, "observedGeneration": generation});
    let patch = Patch::Merge(json!({"status": status}));
    lab.sandboxes().patch_status(NAME, &PatchParams::default(), &patch).await.expect("patched");
}

const IS_PAUSED: &[(&str, bool, &str)] =
    &[("SandboxPaused", true, "StopPauseSucceed"), ("Ready", false, "PodReady")];
const IS_PAUSING: &[(&str, bool, &str)] =
    &[("SandboxPaused", false, "Pending"), ("Ready", false, "PodReady")];
const IS_READY: &[(&str, bool, &str)] = &[
    ("SandboxResumed", true, "ResumePod"),
    ("RuntimeInitialized", true, "Succeeded"),
    ("Ready", true, "PodReady"),
];
/// The controller says that the sandbox is paused.
pub(crate) async fn say_paused(lab: &Lab) {
    say(lab, "Paused", IS_PAUSED).await;
}

const COMES_BACK: &[(&str, bool, &str)] = &[
    ("SandboxResumed", true, "ResumePod"),
    ("RuntimeInitialized", false, "Failed"),
    ("Ready", false, "RuntimeNotInitialized"),
];

async fn until_asked(lab: &Lab, paused: bool) {
    eventually("it is asked for", || async {
        lab.sandboxes().get(NAME).await.expect("there").spec.paused == paused
    })
    .await;
}

/// Pauses, with the controller's part; what the API answers.
async fn pause(lab: &Lab, id: &str) -> (u16, Value) {
    let path = format!("/sandboxes/{id}/pause");
    let (answer, ()) = tokio::join!(lab.post(&path, json!({})), async {
        until_asked(lab, true).await;
        say(lab, "Paused", IS_PAUSING).await;
        say(lab, "Paused", IS_PAUSED).await;
    });
    answer
}

async fn deadlines(lab: &Lab) -> (Option<Timestamp>, Option<Timestamp>) {
    let spec = lab.sandboxes().get(NAME).await.expect("there").spec;
    (spec.pause_time.map(|time| time.0), spec.shutdown_time.map(|time| time.0))
}

fn seconds(lab: &Lab, instant: Option<Timestamp>) -> i64 {
    instant.expect("a deadline").duration_since(lab.clock.now()).as_secs()
}

#[tokio::test]
async fn a_sandbox_is_paused_and_woken_up_and_stays_the_same() {
    let (lab, _envd, id) = one(json!({
        "timeout": 600, "metadata": {"e2b.agents.kruise.io/reserve-paused-sandbox-duration": "1h"},
    }))
    .await;
    let (_, before) = lab.get(&format!("/sandboxes/{id}")).await;
    assert_eq!(pause(&lab, &id).await, (204, Value::Null));
    let (_, shown) = lab.get(&format!("/sandboxes/{id}")).await;
    assert_eq!((shown["state"].as_str(), &shown["sandboxID"]), (Some("paused"), &before["sandboxID"]));
    assert_eq!(lab.get("/v2/sandboxes?state=paused").await.1[0]["sandboxID"], id.as_str());
    assert_eq!(lab.get("/v2/sandboxes?state=running").await.1, json!([]));
    let health =
        lab.http.get(lab.url("/health")).header("e2b-sandbox-id", &id).send().await.expect("answered");
    assert_eq!(health.status(), 502);
    let (pause_time, end) = deadlines(&lab).await;
    assert!(pause_time.is_none() && (3590..=3600).contains(&seconds(&lab, end)), "kept for an hour");
    assert_eq!(lab.post(&format!("/sandboxes/{id}/pause"), json!({})).await.0, 204, "it is paused already");
    assert_eq!(lab.post(&format!("/sandboxes/{id}/timeout"), json!({"timeout": 60})).await.0, 409);

    let connect = format!("/v2/sandboxes/{id}/connect");
    let (short, long, ()) = tokio::join!(
        lab.post(&connect, json!({"timeout": 60})),
        lab.post(&connect, json!({"timeout": 1200})),
        async {
            until_asked(&lab, false).await;
            say(&lab, "Resuming", &[("SandboxPaused", true, "x"), ("SandboxResumed", false, "CreatePod")])
                .await;
            say(&lab, "Running", COMES_BACK).await;
            // the longest timeout wins, whoever comes first
            eventually("the longer one was stored", || async {
                seconds(&lab, deadlines(&lab).await.1) > 1100
            })
            .await;
            say(&lab, "Running", IS_READY).await;
        },
    );
    for (status, woken) in [&short, &long] {
        assert_eq!((*status, woken["state"].as_str()), (201, Some("running")), "{woken}");
        assert_eq!(woken["envdAccessToken"], before["envdAccessToken"]);
    }
    let end = seconds(&lab, deadlines(&lab).await.1);
    assert!((1190..=1200).contains(&end), "{end}");
    assert_eq!(lab.post(&connect, json!({})).await.0, 200, "it runs");
}

#[rstest]
#[case::automatic(json!({"autoPause": true}), true, 300)]
#[case::timed(json!({}), false, 300)]
#[tokio::test]
async fn the_legacy_resume_gives_at_least_the_floor(
    #[case] body: Value,
    #[case] automatic: bool,
    #[case] floor: i64,
) {
    let (lab, _envd, id) = one(body).await;
    let response = lab
        .http
        .post(lab.url(&format!("/sandboxes/{id}/pause")))
        .header("x-api-key", crate::lab::KEY)
        .header(KEPT, "90m");
    let (answer, ()) = tokio::join!(response.send(), async {
        until_asked(&lab, true).await;
        say(&lab, "Paused", IS_PAUSED).await;
    });
    assert_eq!(answer.expect("answered").status(), 204);
    let (pause_time, end) = deadlines(&lab).await;
    assert_eq!(pause_time, end.filter(|_| automatic), "both are the end of the retention");
    assert!((5390..=5400).contains(&seconds(&lab, end)));
    let stored = lab.sandboxes().get(NAME).await.expect("there").metadata.annotations.expect("some");
    assert_eq!(stored["agents.kruise.io/reserve-paused-sandbox-duration"], "90m");
    let resume = format!("/sandboxes/{id}/resume");
    let ((status, _), ()) = tokio::join!(lab.post(&resume, json!({"timeout": 1})), async {
        until_asked(&lab, false).await;
        say(&lab, "Running", IS_READY).await;
    });
    assert_eq!(status, 204);
    let (pause_time, end) = deadlines(&lab).await;
    let next = if automatic { pause_time } else { end };
    assert!((floor - 10..=floor).contains(&seconds(&lab, next)), "{pause_time:?} {end:?}");
    assert_eq!(pause_time.is_some(), automatic);
}

#[tokio::test]
async fn a_sandbox_that_never_ends_has_no_deadline_after_a_pause_either() {
    let (lab, _envd, id) = one(json!({"metadata": {"e2b.agents.kruise.io/never-timeout": "true"}})).await;
    assert_eq!(pause(&lab, &id).await.0, 204);
    assert_eq!(deadlines(&lab).await, (None, None));
    let connect = format!("/sandboxes/{id}/connect");
    let ((status, _), ()) = tokio::join!(lab.post(&connect, json!({"timeout": 60})), async {
        until_asked(&lab, false).await;
        say(&lab, "Running", IS_READY).await;
    });
    assert_eq!((status, deadlines(&lab).await), (201, (None, None)));
}

/// A lab with a claimed sandbox that has volume `data`, of that driver, mounted at `/data`; and its id.
async fn with_mount(driver: &str, mut body: Value) -> (Lab, Envd, String) {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.oss_secret(json!({"akId": AK_ID, "akSecret": AK_SECRET})).await;
    lab.volume_of(driver, "data").await;
    lab.pool(POOL, &[&envd]).await;
    body["metadata"] = json!({
        "e2b.agents.kruise.io/csi-volume-name": "data", "e2b.agents.kruise.io/csi-mount-point": "/data",
    });
    let id = lab.create(body).await["sandboxID"].as_str().expect("an id").to_owned();
    (lab, envd, id)
}

#[rstest]
#[case::nas(drivers::NAS, false, &["PersistentVolume data at /data is NAS storage", "nasplugin.csi.alibabacloud.com", "kill it instead, or use OSS"])]
#[case::gone(drivers::OSS, true, &["PersistentVolume data at /data cannot be read any more"])]
#[tokio::test]
async fn a_sandbox_whose_storage_forbids_it_refuses_with_400_and_is_untouched(
    #[case] driver: &str,
    #[case] gone: bool,
    #[case] words: &[&str],
) {
    let (lab, _envd, id) = with_mount(driver, json!({})).await;
    if gone {
        let volumes: Api<PersistentVolume> = Api::all(lab.client.clone());
        volumes.delete("data", &DeleteParams::default()).await.expect("deleted");
    }
    let before = lab.sandboxes().get(NAME).await.expect("there");
    let (status, refusal) = lab.post(&format!("/sandboxes/{id}/pause"), json!({})).await;
    assert_eq!((status, refusal["code"].as_u64()), (400, Some(400)), "{refusal}");
    assert_eq!(refusal["error_code"], "storage-not-hibernatable");
    for words in words {
        assert!(refusal["message"].as_str().expect("a text").contains(words), "{words} in {refusal}");
    }
    let after = lab.sandboxes().get(NAME).await.expect("there");
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    assert_eq!(lab.get(&format!("/sandboxes/{id}")).await.1["state"], "running");
}

#[tokio::test]
async fn a_create_says_that_nas_will_keep_the_automatic_pause_from_happening() {
    let (lab, _envd, _id) = with_mount(drivers::NAS, json!({"autoPause": true})).await;
    let events: Api<Event> = Api::namespaced(lab.client.clone(), "default");
    let all = events.list(&ListParams::default()).await.expect("a list").items;
    let told: Vec<_> = all.iter().map(|event| (event.reason.clone(), event.type_.clone())).collect();
    assert_eq!(told, [(Some("AutomaticPauseUnavailable".to_owned()), Some("Normal".to_owned()))]);
    assert!(all[0].message.as_deref().is_some_and(|text| text.contains("mounted at /data")));
    assert_eq!(all[0].involved_object.name.as_deref(), Some(NAME));
}

#[tokio::test]
async fn a_pause_set_by_hand_that_the_controller_refuses_changes_nothing_for_users() {
    let (lab, envd, id) = one(json!({})).await;
    let patch = Patch::Merge(json!({"spec": {"paused": true}}));
    lab.sandboxes().patch(NAME, &PatchParams::default(), &patch).await.expect("patched");
    eventually("it is asked for", || async {
        lab.get(&format!("/sandboxes/{id}")).await.1["state"] == "paused"
    })
    .await;
    // a request that comes before the controller's verdict waits for it
    let echo = lab.http.get(lab.url("/echo")).header("e2b-sandbox-id", &id);
    let (answer, ()) = tokio::join!(echo.header("e2b-sandbox-port", envd.port).send(), async {
        say(
            &lab,
            "Running",
            &[("SandboxPaused", false, "StorageNotHibernatable"), ("Ready", true, "PodReady")],
        )
        .await;
    });
    assert!(answer.expect("answered").status().is_success());
    assert_eq!(lab.get("/v2/sandboxes?state=running").await.1[0]["sandboxID"], id.as_str());
}

#[rstest]
#[case::not_ready(false, "Running", &[("Ready", false, "PodReady")], 400, "not ready", 200)]
#[case::waking(false, "Resuming", &[("SandboxPaused", true, "x")], 503, "waking up", 0)]
#[case::pausing(true, "Paused", IS_PAUSING, 0, "", 400)]
#[tokio::test]
async fn states_in_between_are_refused_in_words(
    #[case] paused: bool,
    #[case] phase: &str,
    #[case] conditions: &[(&str, bool, &str)],
    #[case] pausing: u16,
    #[case] words: &str,
    #[case] connecting: u16,
) {
    let (lab, _envd, id) = one(json!({})).await;
    let patch = Patch::Merge(json!({"spec": {"paused": paused}}));
    lab.sandboxes().patch(NAME, &PatchParams::default(), &patch).await.expect("patched");
    say(&lab, phase, conditions).await;
    let unlisted = || async { lab.get("/v2/sandboxes?state=running").await.1 == json!([]) };
    eventually("the manager knows", unlisted).await;
    if pausing != 0 {
        let (status, refusal) = lab.post(&format!("/sandboxes/{id}/pause"), json!({})).await;
        assert_eq!(status, pausing, "{refusal}");
        assert!(refusal["message"].as_str().is_some_and(|text| text.contains(words)), "{refusal}");
    }
    if connecting != 0 {
        let (status, answer) = lab.post(&format!("/sandboxes/{id}/connect"), json!({})).await;
        assert_eq!(status, connecting, "{answer}");
    }
    if connecting == 400 {
        let (status, refusal) = lab.post(&format!("/sandboxes/{id}/resume"), json!({"timeout": 60})).await;
        assert_eq!(status, 409);
        assert!(
            refusal["message"].as_str().is_some_and(|text| text.contains("SandboxIsPausing")),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn what_lasts_too_long_is_told_with_the_last_state() {
    let limit = std::time::Duration::from_millis(200);
    let (lab, _envd, id) = one_with(json!({}), |options| {
        options.pause_limit = limit;
        options.resume_limit = limit;
    })
    .await;
    let (status, late) = lab.post(&format!("/sandboxes/{id}/pause"), json!({})).await;
    assert_eq!((status, late["error_code"].as_str()), (500, Some("pause-failed")));
    assert!(
        late["message"]
            .as_str()
            .is_some_and(|text| text.contains("not done within 200ms, last: phase Running"))
    );
    say(&lab, "Paused", IS_PAUSED).await;
    let paused = || async { lab.post(&format!("/sandboxes/{id}/pause"), json!({})).await.0 == 204 };
    eventually("the pause is complete", paused).await;
    let patch = Patch::Merge(json!({"spec": {"paused": false}}));
    lab.sandboxes().patch(NAME, &PatchParams::default(), &patch).await.expect("patched");
    say(&lab, "Running", COMES_BACK).await;
    eventually("the manager knows", || async {
        lab.get(&format!("/sandboxes/{id}")).await.1["state"] == "running"
    })
    .await;
    let (status, late) = lab.post(&format!("/sandboxes/{id}/connect"), json!({})).await;
    assert_eq!((status, late["error_code"].as_str()), (500, Some("resume-failed")));
    let message = late["message"].as_str().expect("a text");
    assert!(message.contains("failed to resume sandbox"), "{message}");
    assert!(message.contains("RuntimeInitialized False Failed (said of RuntimeInitialized)"), "{message}");
}

#[tokio::test]
async fn a_sandbox_that_ends_meanwhile_ends_the_wait() {
    let (lab, _envd, id) = one(json!({})).await;
    let pause = format!("/sandboxes/{id}/pause");
    let ((status, ended), ()) = tokio::join!(lab.post(&pause, json!({})), async {
        until_asked(&lab, true).await;
        say(&lab, "Failed", &[]).await;
    });
    assert_eq!((status, ended["error_code"].as_str()), (500, Some("pause-failed")), "{ended}");
    assert!(ended["message"].as_str().is_some_and(|text| text.contains("ended meanwhile")), "{ended}");
}

#[tokio::test]
async fn a_bad_retention_is_refused_before_anything_is_written() {
    let (lab, _envd, id) = one(json!({})).await;
    let request =
        lab.http.post(lab.url(&format!("/sandboxes/{id}/pause"))).header("x-api-key", crate::lab::KEY);
    let answer = request.header(KEPT, "soon").send().await.expect("answered");
    assert_eq!(answer.status(), 400);
    assert!(!lab.sandboxes().get(NAME).await.expect("there").spec.paused);
}
