//! The verbs, as kube-rs uses them.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod common;

use std::pin::pin;
use std::sync::Arc;

use common::{LIMIT, client, pod, refusal};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use kube_sim::{ApiFault, Faults, RequestFacts};
use serde_json::json;
use tokio::time::timeout;

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let pods: Api<Pod> = Api::default_namespaced(client());
    let created = pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    assert!(created.uid().is_some());
    assert_eq!(created.metadata.generation, Some(1));
    assert_eq!(refusal(pods.create(&PostParams::default(), &pod("a")).await).reason, "AlreadyExists");

    let labelled = pods
        .patch("a", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}})))
        .await
        .expect("patched");
    assert_eq!(labelled.labels().get("x").map(String::as_str), Some("y"));
    assert_eq!(labelled.metadata.generation, Some(1), "metadata is no desired state");

    let mut stale = created.clone();
    stale.labels_mut().insert("late".into(), "1".into());
    assert_eq!(refusal(pods.replace("a", &PostParams::default(), &stale).await).code, 409);

    let gone = pods.delete("a", &DeleteParams::default()).await.expect("deleted");
    assert!(gone.left().is_some(), "a pod's last state");
    assert_eq!(refusal(pods.get("a").await).message, "pods \"a\" not found");
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let pods: Api<Pod> = Api::default_namespaced(client());
    pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    let patch = json!({"status": {"phase": "Running"}, "metadata": {"labels": {"no": "way"}}});
    let running =
        pods.patch_status("a", &PatchParams::default(), &Patch::Merge(patch.clone())).await.expect("patched");
    assert_eq!(running.status.and_then(|status| status.phase).as_deref(), Some("Running"));
    assert!(!running.metadata.labels.is_some_and(|labels| labels.contains_key("no")));
    let patch = json!({"status": {"phase": "Failed"}});
    let same = pods.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    assert_eq!(same.status.and_then(|status| status.phase).as_deref(), Some("Running"));
}

#[tokio::test]
async fn a_secret_shows_its_string_data_encoded() {
    let secrets: Api<Secret> = Api::default_namespaced(client());
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "s"}, "stringData": {"akId": "id"},
    }))
    .expect("a secret");
    let stored = secrets.create(&PostParams::default(), &secret).await.expect("created");
    assert_eq!(stored.type_.as_deref(), Some("Opaque"));
    assert!(stored.string_data.is_none());
    assert_eq!(stored.data.expect("data")["akId"].0, b"id");
}

#[tokio::test]
async fn lists_are_selected_and_paged() {
    let pods: Api<Pod> = Api::default_namespaced(client());
    for name in ["a", "b", "c", "d", "e"] {
        pods.create(&PostParams::default(), &pod(name)).await.expect("created");
    }
    let some = pods.list(&ListParams::default().labels("app in (a,c)")).await.expect("listed");
    assert_eq!(some.items.len(), 2);
    let one = pods.list(&ListParams::default().fields("metadata.name=d")).await.expect("listed");
    assert_eq!(one.items.len(), 1);
    let mut names = Vec::new();
    let mut parameters = ListParams::default().limit(2);
    loop {
        let page = pods.list(&parameters).await.expect("listed");
        assert!(page.items.len() <= 2);
        names.extend(page.items.iter().map(kube::ResourceExt::name_any));
        let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) else { break };
        parameters = parameters.continue_token(&token);
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn pages_are_as_of_the_first_while_others_write() {
    let pods: Api<Pod> = Api::default_namespaced(client());
    for number in 0..30 {
        pods.create(&PostParams::default(), &pod(&format!("pod-{number:02}"))).await.expect("created");
    }
    let mut parameters = ListParams::default().limit(7);
    let (mut names, mut versions) = (Vec::new(), std::collections::BTreeSet::new());
    for page in 0.. {
        let found = pods.list(&parameters).await.expect("listed");
        versions.extend(found.metadata.resource_version.clone());
        names.extend(found.items.iter().map(kube::ResourceExt::name_any));
        let Some(token) = found.metadata.continue_.filter(|token| !token.is_empty()) else { break };
        parameters = parameters.continue_token(&token);
        // Beside every page somebody deletes a pod of the last one and makes one that would be on it.
        let writers = (0..4).map(|writer| {
            let pods = pods.clone();
            tokio::spawn(async move {
                let gone = format!("pod-{:02}", 29 - 4 * page - writer);
                let zero = kube::api::DeleteParams::default().grace_period(0);
                pods.delete(&gone, &zero).await.expect("deleted");
                let new = pod(&format!("pod-{}{writer}-new", 29 - page));
                pods.create(&PostParams::default(), &new).await.expect("created");
            })
        });
        for writer in writers {
            writer.await.expect("written");
        }
    }
    let expected: Vec<_> = (0..30).map(|number| format!("pod-{number:02}")).collect();
    assert_eq!(names, expected);
    assert_eq!(versions.len(), 1, "{versions:?}");
}

#[tokio::test]
async fn an_expired_continue_token_comes_with_one_that_goes_on() {
    let server = common::server();
    let pods: Api<Pod> = Api::default_namespaced(server.client("default"));
    for name in ["a", "b", "c"] {
        pods.create(&PostParams::default(), &pod(name)).await.expect("created");
    }
    let first = pods.list(&ListParams::default().limit(1)).await.expect("listed");
    let token = first.metadata.continue_.expect("more to come");
    pods.create(&PostParams::default(), &pod("d")).await.expect("created");
    server.compact();
    let status = refusal(pods.list(&ListParams::default().limit(1).continue_token(&token)).await);
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    let fresh = status.metadata.and_then(|metadata| metadata.continue_).expect("a token");
    let rest = pods.list(&ListParams::default().continue_token(&fresh)).await.expect("listed");
    assert_eq!(rest.items.iter().map(kube::ResourceExt::name_any).collect::<Vec<_>>(), ["b", "c", "d"]);
}

#[tokio::test]
async fn names_are_generated_from_their_prefix() {
    let pods: Api<Pod> = Api::default_namespaced(client());
    let mut nameless = pod("x");
    nameless.metadata.name = None;
    nameless.metadata.generate_name = Some("set-".into());
    let created = pods.create(&PostParams::default(), &nameless).await.expect("created");
    let name = created.name_any();
    assert!(name.starts_with("set-") && name.len() == "set-".len() + 5, "{name}");
}

#[tokio::test]
async fn a_watch_tells_what_happens_after_a_version() {
    let pods: Api<Pod> = Api::default_namespaced(client());
    pods.create(&PostParams::default(), &pod("before")).await.expect("created");
    let version = pods
        .list(&ListParams::default())
        .await
        .expect("listed")
        .metadata
        .resource_version
        .expect("a version");
    let mut watch =
        pin!(pods.watch(&WatchParams::default().labels("app=a"), &version).await.expect("watching"));
    pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    pods.create(&PostParams::default(), &pod("b")).await.expect("created");
    let patch = json!({"metadata": {"labels": {"app": "other"}}});
    pods.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match timeout(LIMIT, watch.try_next())
            .await
            .expect("an event in time")
            .expect("no error")
            .expect("goes on")
        {
            WatchEvent::Added(pod) => seen.push(format!("added {}", pod.name_any())),
            WatchEvent::Deleted(pod) => seen.push(format!("deleted {}", pod.name_any())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["added a", "deleted a"], "an object that is no longer selected is gone for this watch");
}

#[tokio::test]
async fn a_watch_from_a_forgotten_version_is_told_to_list_anew() {
    let server = common::server();
    let pods: Api<Pod> = Api::default_namespaced(server.client("default"));
    pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    server.compact();
    let mut watch = pin!(pods.watch(&WatchParams::default(), "1").await.expect("answers"));
    let event =
        timeout(LIMIT, watch.try_next()).await.expect("in time").expect("no error").expect("an event");
    let WatchEvent::Error(status) = event else { panic!("{event:?}") };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
}

#[tokio::test]
async fn an_apply_owns_what_it_says() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client());
    let apply = |data: serde_json::Value| {
        Patch::Apply(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}),
        )
    };
    let alice = PatchParams::apply("alice");
    maps.patch("m", &alice, &apply(json!({"a": "1", "b": "1"}))).await.expect("created");
    let bob = PatchParams::apply("bob");
    let status = refusal(maps.patch("m", &bob, &apply(json!({"a": "2"}))).await);
    assert_eq!(status.code, 409);
    assert!(status.message.contains("conflict with \"alice\" using v1: .data.a"), "{}", status.message);
    maps.patch("m", &bob.clone().force(), &apply(json!({"a": "2"}))).await.expect("forced");
    let map = maps.patch("m", &alice, &apply(json!({}))).await.expect("applied");
    assert_eq!(
        map.data.map(|data| data.into_iter().collect::<Vec<_>>()),
        Some(vec![("a".into(), "2".into())])
    );
}

#[tokio::test]
async fn an_apply_to_the_status_owns_only_the_status() {
    let pods: Api<Pod> = Api::default_namespaced(client());
    pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    let status = Patch::Apply(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"no": "way"}},
        "spec": {"nodeName": "elsewhere"}, "status": {"phase": "Running"}}),
    );
    let running =
        pods.patch_status("a", &PatchParams::apply("kubelet").force(), &status).await.expect("applied");
    assert_eq!(running.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Running"));
    assert!(!running.labels().contains_key("no"));
    let kubelet = running
        .metadata
        .managed_fields
        .into_iter()
        .flatten()
        .find(|entry| entry.operation.as_deref() == Some("Apply"));
    let kubelet = serde_json::to_value(kubelet.expect("an entry")).expect("an entry");
    assert_eq!(kubelet["fieldsV1"], json!({"f:status": {"f:phase": {}}}));
}

#[derive(Debug)]
struct FirstDelete(std::sync::atomic::AtomicBool);

impl Faults for FirstDelete {
    fn strike(&self, request: &RequestFacts) -> Option<ApiFault> {
        let struck = request.verb == "delete"
            && request.resource == "pods"
            && !self.0.swap(true, std::sync::atomic::Ordering::Relaxed);
        struck.then_some(ApiFault::Conflict)
    }
}

#[tokio::test]
async fn a_fault_strikes_the_request_that_its_rule_names() {
    let server = common::server();
    let pods: Api<Pod> = Api::default_namespaced(server.client("default"));
    server.set_faults(Some(Arc::new(FirstDelete(false.into()))));
    pods.create(&PostParams::default(), &pod("a")).await.expect("not struck");
    assert_eq!(refusal(pods.delete("a", &DeleteParams::default()).await).reason, "Conflict");
    pods.get("a").await.expect("nothing was done");
    pods.delete("a", &DeleteParams::default()).await.expect("struck only once");
}

#[tokio::test]
async fn a_dry_run_leaves_nothing() {
    let pods: Api<Pod> = Api::default_namespaced(client());
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    pods.create(&parameters, &pod("a")).await.expect("would be created");
    assert!(pods.get_opt("a").await.expect("asked").is_none());
}
