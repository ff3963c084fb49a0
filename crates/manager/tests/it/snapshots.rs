//! Snapshots through the API; the test says what controller and node would.

use contract::checkpoint;
use contract::crd::{Checkpoint, Sandbox, SandboxTemplate, SandboxTemplateSpec};
use contract::names::annotations;
use k8s_openapi::api::core::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource as _, ResourceExt as _};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::envd::Envd;
use crate::lab::{KEY, LIMIT, Lab, POOL, answer, eventually};

/// A lab with one claimed sandbox, and its id.
async fn one() -> (Lab, Envd, String) {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    let created = lab.create(json!({})).await;
    let id = created["sandboxID"].as_str().expect("an id").to_owned();
    (lab, envd, id)
}

fn checkpoints(lab: &Lab) -> Api<Checkpoint> {
    Api::namespaced(lab.client.clone(), "default")
}

/// The next Checkpoint that nobody has answered.
async fn asked(lab: &Lab) -> Checkpoint {
    let asked = async {
        loop {
            let all = checkpoints(lab).list(&ListParams::default()).await.expect("a list");
            if let Some(found) = all.items.into_iter().find(|found| checkpoint::phase(found).is_empty()) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, asked).await.expect("a Checkpoint in time")
}

async fn say(lab: &Lab, checkpoint: &Checkpoint, phase: &str, reason: &str, message: &str) {
    let condition = json!({"type": "Ready", "status": if phase == "Succeeded" { "True" } else { "False" },
        "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"phase": phase, "message": message, "checkpointId": checkpoint::id(checkpoint), "conditions": [condition]});
    let patch = Patch::Merge(json!({"status": status}));
    checkpoints(lab)
        .patch_status(&checkpoint.name_any(), &PatchParams::default(), &patch)
        .await
        .expect("patched");
}

/// Takes a snapshot that succeeds, with the companion that the controller makes; its id.
async fn snapshot(lab: &Lab, sandbox: &str, body: Value) -> String {
    let path = format!("/sandboxes/{sandbox}/snapshots");
    let work = async {
        let asked = asked(lab).await;
        let template = json!({"metadata": {"labels": {"app": "demo"}}, "spec": {"containers": [{"name": "sandbox", "image": "demo"}]}});
        let spec = SandboxTemplateSpec { template: Some(template), ..SandboxTemplateSpec::default() };
        let mut companion = SandboxTemplate::new(&asked.name_any(), spec);
        companion.metadata.owner_references = asked.controller_owner_ref(&()).map(|owner| vec![owner]);
        let templates: Api<SandboxTemplate> = Api::namespaced(lab.client.clone(), "default");
        templates.create(&PostParams::default(), &companion).await.expect("created");
        say(lab, &asked, "Succeeded", "CheckpointSucceeded", "kept").await;
        checkpoint::id(&asked)
    };
    let (id, (status, taken)) = tokio::join!(work, lab.post(&path, body));
    assert_eq!((status, &taken["snapshotID"]), (201, &json!(id)), "{taken}");
    id
}

#[tokio::test]
async fn a_snapshot_becomes_a_checkpoint_without_anything_of_the_sandbox_s_claim() {
    let (lab, _envd, sandbox) = one().await;
    let id = snapshot(&lab, &sandbox, json!({"name": "first"})).await;
    let all = checkpoints(&lab).list(&ListParams::default()).await.expect("a list");
    let made = &all.items[0];
    assert_eq!(
        json!(made.spec),
        json!({"sandboxName": "code-interpreter-0", "podName": "code-interpreter-0",
        "keepRunning": true, "persistentContents": ["filesystem"]})
    );
    let notes = made.annotations();
    assert_eq!(
        (&notes[annotations::SANDBOX_ID], notes[annotations::SNAPSHOT_NAME].as_str()),
        (&sandbox, "first")
    );
    for kept_back in
        [annotations::INIT_RUNTIME_REQUEST, annotations::CSI_VOLUME_CONFIG, annotations::RUNTIME_ACCESS_TOKEN]
    {
        assert!(!notes.contains_key(kept_back), "{kept_back}");
    }
    let listed = lab.get(&format!("/snapshots?sandboxID={sandbox}")).await;
    assert_eq!(listed, (200, json!([{"snapshotID": id, "names": ["first"]}])));
    assert_eq!(lab.get("/snapshots?sandboxID=default--other").await, (200, json!([])));
    assert_eq!(lab.get(&format!("/snapshots?name={id}")).await.1.as_array().map(Vec::len), Some(1));
    assert_eq!(lab.get("/snapshots?limit=0").await.0, 400);
    assert_eq!(lab.post(&format!("/sandboxes/{sandbox}/snapshots"), json!({"name": "first"})).await.0, 409);
}

#[tokio::test]
async fn a_list_has_pages_in_the_order_of_creation() {
    let (lab, _envd, sandbox) = one().await;
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(snapshot(&lab, &sandbox, json!({})).await);
        lab.clock.advance(std::time::Duration::from_secs(1));
    }
    let mut seen = Vec::new();
    let mut path = "/snapshots?limit=2".to_owned();
    loop {
        let response = lab.http.get(lab.url(&path)).header("x-api-key", KEY).send().await.expect("an answer");
        let next = response.headers().get("x-next-token").map(|next| next.to_str().expect("text").to_owned());
        let (status, page) = answer(response).await;
        assert_eq!(status, 200);
        seen.extend(
            page.as_array()
                .expect("a list")
                .iter()
                .map(|item| item["snapshotID"].as_str().expect("text").to_owned()),
        );
        let Some(next) = next else { break };
        path = format!("/snapshots?limit=2&nextToken={next}");
    }
    assert_eq!(seen, taken);
}

#[rstest]
#[case::fails("CheckpointFailed", "the disk is full", 500, "the disk is full")]
#[case::cannot("NotSupported", "node n cannot", 501, "node n cannot")]
#[tokio::test]
async fn a_failure_is_told_and_leaves_no_checkpoint(
    #[case] reason: &str,
    #[case] message: &str,
    #[case] status: u16,
    #[case] words: &str,
) {
    let (lab, _envd, sandbox) = one().await;
    let path = format!("/sandboxes/{sandbox}/snapshots");
    let work = async { say(&lab, &asked(&lab).await, "Failed", reason, message).await };
    let ((), (answered, body)) = tokio::join!(work, lab.post(&path, json!({})));
    assert_eq!(answered, status, "{body}");
    assert!(body["message"].as_str().is_some_and(|text| text.contains(words)), "{body}");
    none_left(&lab).await;
    assert_eq!(lab.get("/snapshots").await, (200, json!([])));
}

async fn none_left(lab: &Lab) {
    eventually("no Checkpoint is left", || async {
        checkpoints(lab).list(&ListParams::default()).await.expect("a list").items.is_empty()
    })
    .await;
}

#[tokio::test]
async fn one_that_takes_too_long_is_told_with_its_last_state_and_deleted() {
    let (lab, _envd, sandbox) = one().await;
    let request = lab
        .http
        .post(lab.url(&format!("/sandboxes/{sandbox}/snapshots")))
        .header("x-api-key", KEY)
        .header("x-e2b-kruise-snapshot-wait-success-seconds", "1")
        .send();
    let (status, body) = answer(request.await.expect("an answer")).await;
    assert_eq!(status, 500);
    let message = body["message"].as_str().expect("a message");
    assert!(
        message.contains("not done within 1s") && message.contains("not seen by the controller"),
        "{body}"
    );
    none_left(&lab).await;
}

#[rstest]
#[case("x-e2b-kruise-snapshot-ttl", "soon", 400)]
#[case("x-e2b-kruise-snapshot-wait-success-seconds", "-1", 400)]
#[case("x-e2b-kruise-snapshot-persistent-contents", "memory", 400)]
#[case("x-e2b-kruise-snapshot-keep-running", "false", 400)]
#[tokio::test]
async fn headers_that_cannot_be_done_are_refused_before_anything_is_made(
    #[case] name: &str,
    #[case] value: &str,
    #[case] status: u16,
) {
    let (lab, _envd, sandbox) = one().await;
    let url = lab.url(&format!("/sandboxes/{sandbox}/snapshots"));
    let response = lab.http.post(url).header("x-api-key", KEY).header(name, value).send().await;
    assert_eq!(answer(response.expect("an answer")).await.0, status);
    assert!(checkpoints(&lab).list(&ListParams::default()).await.expect("a list").items.is_empty());
}

#[tokio::test]
async fn only_a_running_sandbox_of_the_caller_can_be_snapshotted() {
    let (lab, _envd, sandbox) = one().await;
    assert_eq!(lab.post("/sandboxes/default--nobody/snapshots", json!({})).await.0, 404);
    lab.make_unready("code-interpreter-0").await;
    eventually("the manager knows", || async { lab.get("/v2/sandboxes").await.1 == json!([]) }).await;
    let (status, body) = lab.post(&format!("/sandboxes/{sandbox}/snapshots"), json!({})).await;
    assert_eq!((status, body["code"].as_u64()), (400, Some(400)), "{body}");
    assert!(checkpoints(&lab).list(&ListParams::default()).await.expect("a list").items.is_empty());
}

/// Creates a sandbox from a snapshot, doing the controller's part.
async fn clone(lab: &Lab, envd: &Envd, body: Value) -> (u16, Value) {
    let work = async {
        let name = async {
            loop {
                let all = lab.sandboxes().list(&ListParams::default()).await.expect("a list");
                let new = all.items.iter().find(|found| {
                    found.annotations().contains_key(annotations::RESTORE_FROM) && found.status.is_none()
                });
                if let Some(found) = new {
                    return found.name_any();
                }
                tokio::task::yield_now().await;
            }
        };
        let name = tokio::time::timeout(LIMIT, name).await.expect("a clone in time");
        lab.make_ready(&name, envd).await
    };
    let (_, answered) = tokio::join!(work, lab.post("/v2/sandboxes", body));
    answered
}

#[tokio::test]
async fn a_clone_is_a_new_sandbox_of_the_snapshot_s_template_without_mounts() {
    let (lab, envd, sandbox) = one().await;
    let id = snapshot(&lab, &sandbox, json!({})).await;
    // what an older system may have left on a Checkpoint counts for nothing
    let name = checkpoints(&lab).list(&ListParams::default()).await.expect("a list").items[0].name_any();
    let stale = json!({"metadata": {"annotations": {annotations::CSI_VOLUME_CONFIG: r#"[{"pvName":"x","mountPath":"/x"}]"#}}});
    checkpoints(&lab).patch(&name, &PatchParams::default(), &Patch::Merge(stale)).await.expect("patched");

    let (status, created) = clone(&lab, &envd, json!({"templateID": id, "metadata": {"user": "ada"}})).await;
    assert_eq!((status, &created["templateID"]), (201, &json!(name)), "{created}");
    let key =
        created["sandboxID"].as_str().and_then(|id| id.strip_prefix("default--")).expect("an id").to_owned();
    assert!(key.starts_with(&format!("{id}-")), "{key}");
    let made: Sandbox = lab.sandboxes().get(&key).await.expect("there");
    assert_eq!(made.annotations()[annotations::RESTORE_FROM], id);
    assert!(!made.annotations().contains_key(annotations::CSI_VOLUME_CONFIG));
    let source = lab.sandboxes().get("code-interpreter-0").await.expect("there");
    let token = |sandbox: &Sandbox| sandbox.annotations()[annotations::RUNTIME_ACCESS_TOKEN].clone();
    assert_ne!(token(&made), token(&source));
    assert!(
        made.owner_references().is_empty() && !made.labels().contains_key("agents.kruise.io/sandbox-pool")
    );
    assert_eq!(made.spec.template.as_ref().expect("a template")["metadata"]["labels"]["app"], "demo");
}

#[rstest]
#[case::exactly("sandbox-name", "my-clone")]
#[case::prefixed("sandbox-generate-name", "my-clone-")]
#[tokio::test]
async fn a_clone_is_called_as_asked_and_a_name_is_taken_once(#[case] key: &str, #[case] value: &str) {
    let (lab, envd, sandbox) = one().await;
    let id = snapshot(&lab, &sandbox, json!({})).await;
    let body = json!({"templateID": id, "metadata": {format!("e2b.agents.kruise.io/{key}"): value}});
    let (status, created) = clone(&lab, &envd, body.clone()).await;
    assert_eq!(status, 201, "{created}");
    let name = created["sandboxID"].as_str().expect("an id").to_owned();
    assert!(name.starts_with("default--my-clone"), "{name}");
    if key == "sandbox-name" {
        let (status, refused) = lab.post("/v2/sandboxes", body).await;
        assert_eq!((status, refused["error_code"].as_str()), (409, Some("name-taken")), "{refused}");
    }
}

#[tokio::test]
async fn a_deleted_or_foreign_snapshot_is_unknown_and_a_pool_is_not_deleted() {
    let (lab, _envd, sandbox) = one().await;
    let id = snapshot(&lab, &sandbox, json!({})).await;
    let foreign = snapshot(&lab, &sandbox, json!({})).await;
    let all = checkpoints(&lab).list(&ListParams::default()).await.expect("a list");
    let other = all.items.iter().find(|found| checkpoint::id(found) == foreign).expect("there").name_any();
    let patch = Patch::Merge(json!({"metadata": {"annotations": {annotations::OWNER: "somebody-else"}}}));
    checkpoints(&lab).patch(&other, &PatchParams::default(), &patch).await.expect("patched");
    eventually("it is not listed", || async {
        lab.get("/snapshots").await.1.as_array().map(Vec::len) == Some(1)
    })
    .await;

    let delete = |id: String| {
        let lab = &lab;
        async move { lab.request(Method::DELETE, &format!("/templates/{id}"), None).await.0 }
    };
    assert_eq!(delete(foreign.clone()).await, 404);
    assert_eq!(delete(POOL.to_owned()).await, 403);
    assert_eq!((delete(id.clone()).await, delete(id.clone()).await), (204, 404));
    for unknown in [id, foreign] {
        assert_eq!(lab.post("/v2/sandboxes", json!({"templateID": unknown})).await.0, 400);
    }
    let events: Api<Event> = Api::namespaced(lab.client.clone(), "default");
    assert!(events.list(&ListParams::default()).await.expect("a list").items.is_empty());
    checkpoints(&lab).delete(&other, &DeleteParams::default()).await.expect("deleted");
}
