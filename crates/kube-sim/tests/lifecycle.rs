//! What a cluster does by itself: finalizers, grace, garbage collection, the end of namespaces.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod common;

use common::{api, client, object, pod, refusal};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::{Api, Client, ResourceExt as _};
use rstest::rstest;
use serde_json::{Value, json};

async fn create(client: &Client, kind: &str, plural: &str, mut value: Value) -> DynamicObject {
    value["apiVersion"] = "v1".into();
    value["kind"] = kind.into();
    api(client, "", "v1", kind, plural).create(&PostParams::default(), &object(value)).await.expect("created")
}

/// A config map that owns pods, and whether it waits for them.
async fn family(client: &Client, children: &[&str], blocks: bool) -> DynamicObject {
    let owner = create(client, "ConfigMap", "configmaps", json!({"metadata": {"name": "owner"}})).await;
    for child in children {
        let mut child = serde_json::to_value(pod(child)).expect("a pod");
        child["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid(),
            "controller": true, "blockOwnerDeletion": blocks,
        }]);
        create(client, "Pod", "pods", child).await;
    }
    owner
}

async fn pods_left(client: &Client) -> Vec<String> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.list(&ListParams::default()).await.expect("listed").iter().map(kube::ResourceExt::name_any).collect()
}

async fn bind(client: &Client, name: &str) {
    let request = http::Request::post(format!("/api/v1/namespaces/default/pods/{name}/binding"))
        .header("content-type", "application/json")
        .body(
            json!({"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "node"}})
                .to_string(),
        )
        .expect("a request");
    client.request::<Value>(request.map(String::into_bytes)).await.expect("bound");
}

#[tokio::test]
async fn a_deleted_owner_takes_its_dependents_along() {
    let client = client();
    family(&client, &["a", "b"], true).await;
    create(&client, "Pod", "pods", serde_json::to_value(pod("stranger")).expect("a pod")).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    maps.delete("owner", &DeleteParams::background()).await.expect("deleted");
    assert_eq!(pods_left(&client).await, ["stranger"]);
}

#[tokio::test]
async fn an_orphan_stays_without_its_owner() {
    let client = client();
    family(&client, &["a"], true).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    maps.delete("owner", &DeleteParams::orphan()).await.expect("deleted");
    assert!(maps.get_opt("owner").await.expect("asked").is_none());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    assert!(pods.get("a").await.expect("still there").owner_references().is_empty());
}

#[tokio::test]
async fn a_foreground_deletion_waits_for_dependents_that_block() {
    let client = client();
    family(&client, &["a"], true).await;
    bind(&client, "a").await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    maps.delete("owner", &DeleteParams::foreground()).await.expect("accepted");
    let waiting = maps.get("owner").await.expect("waits");
    assert!(waiting.metadata.deletion_timestamp.is_some());
    assert_eq!(waiting.finalizers(), ["foregroundDeletion"]);
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.delete("a", &DeleteParams::default().grace_period(0)).await.expect("finished");
    assert!(maps.get_opt("owner").await.expect("asked").is_none(), "nothing holds it any longer");
}

#[tokio::test]
async fn a_dependent_of_nobody_is_collected_and_one_with_another_owner_is_kept() {
    let client = client();
    let owner = family(&client, &[], true).await;
    let reference =
        |uid: &str, name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid});
    let mut lost = serde_json::to_value(pod("lost")).expect("a pod");
    lost["metadata"]["ownerReferences"] = json!([reference("no-such-uid", "gone")]);
    create(&client, "Pod", "pods", lost).await;
    let mut shared = serde_json::to_value(pod("shared")).expect("a pod");
    shared["metadata"]["ownerReferences"] =
        json!([reference("no-such-uid", "gone"), reference(&owner.uid().expect("set"), "owner")]);
    create(&client, "Pod", "pods", shared).await;
    assert_eq!(pods_left(&client).await, ["shared"]);
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    assert_eq!(pods.get("shared").await.expect("there").owner_references().len(), 1);
}

#[tokio::test]
async fn a_finalizer_holds_an_object_until_it_is_taken_off() {
    let client = client();
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let held = json!({"metadata": {"name": "m", "finalizers": ["demo.dev/hold"]}});
    create(&client, "ConfigMap", "configmaps", held).await;
    maps.delete("m", &DeleteParams::default()).await.expect("accepted");
    let dying = maps.get("m").await.expect("held");
    assert!(dying.metadata.deletion_timestamp.is_some());
    maps.delete("m", &DeleteParams::default()).await.expect("again is no error");
    let more = Patch::Merge(json!({"metadata": {"finalizers": ["demo.dev/hold", "demo.dev/more"]}}));
    let status = refusal(maps.patch("m", &PatchParams::default(), &more).await);
    assert!(status.message.contains("no new finalizers can be added"), "{}", status.message);
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("m", &PatchParams::default(), &patch).await.expect("released");
    assert!(maps.get_opt("m").await.expect("asked").is_none());
}

#[tokio::test]
async fn a_bound_pod_has_grace_and_goes_when_its_kubelet_says_so() {
    let client = client();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    bind(&client, "a").await;
    pods.delete("a", &DeleteParams::default()).await.expect("accepted");
    let dying = pods.get("a").await.expect("in grace");
    assert_eq!(dying.metadata.deletion_grace_period_seconds, Some(30));
    assert!(dying.metadata.deletion_timestamp > dying.metadata.creation_timestamp);
    pods.delete("a", &DeleteParams::default().grace_period(0)).await.expect("finished");
    assert!(pods.get_opt("a").await.expect("asked").is_none());
}

#[tokio::test]
async fn a_namespace_goes_when_its_content_has_gone() {
    let client = client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "work"}})).expect("valid");
    namespaces.create(&PostParams::default(), &namespace).await.expect("created");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "work");
    for (name, finalizers) in [("free", json!([])), ("held", json!(["demo.dev/hold"]))] {
        let map = serde_json::from_value(json!({"metadata": {"name": name, "finalizers": finalizers}}))
            .expect("valid");
        maps.create(&PostParams::default(), &map).await.expect("created");
    }
    namespaces.delete("work", &DeleteParams::default()).await.expect("accepted");
    let dying = namespaces.get("work").await.expect("waits for its content");
    assert_eq!(dying.status.and_then(|status| status.phase).as_deref(), Some("Terminating"));
    let left: Vec<String> = maps
        .list(&ListParams::default())
        .await
        .expect("listed")
        .iter()
        .map(kube::ResourceExt::name_any)
        .collect();
    assert_eq!(left, ["held"]);
    let map = serde_json::from_value(json!({"metadata": {"name": "late"}})).expect("valid");
    let status = refusal(maps.create(&PostParams::default(), &map).await);
    assert_eq!(status.code, 403);
    assert!(status.message.contains("because it is being terminated"), "{}", status.message);
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &patch).await.expect("released");
    assert!(namespaces.get_opt("work").await.expect("asked").is_none());
}

#[tokio::test]
async fn what_each_namespace_has_is_restored_as_long_as_it_is_there() {
    let client = client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let work: Namespace = serde_json::from_value(json!({"metadata": {"name": "work"}})).expect("a namespace");
    namespaces.create(&PostParams::default(), &work).await.expect("created");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "work");
    let certificate =
        async || maps.get("kube-root-ca.crt").await.expect("there").data.expect("some")["ca.crt"].clone();
    let made = certificate().await;
    assert!(made.starts_with("-----BEGIN CERTIFICATE-----"), "{made}");
    let other =
        Patch::Merge(json!({"data": {"ca.crt": "another", "more": "x"}, "binaryData": {"raw": "eA=="}}));
    maps.patch("kube-root-ca.crt", &PatchParams::default(), &other).await.expect("patched");
    let restored = maps.get("kube-root-ca.crt").await.expect("there");
    assert_eq!(json!(restored.data), json!({"ca.crt": made}));
    assert_eq!(restored.binary_data, None);
    maps.delete("kube-root-ca.crt", &DeleteParams::default()).await.expect("deleted");
    assert_eq!(certificate().await, made);
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "work");
    let before = accounts.get("default").await.expect("there").uid();
    accounts.delete("default", &DeleteParams::default()).await.expect("deleted");
    assert_ne!(accounts.get("default").await.expect("again there").uid(), before);
    namespaces.delete("work", &DeleteParams::default()).await.expect("deleted");
    assert_eq!(maps.get_opt("kube-root-ca.crt").await.expect("answered"), None);
    assert_eq!(accounts.get_opt("default").await.expect("answered"), None);
}

#[rstest]
#[case(Preconditions { uid: Some("other".into()), resource_version: None }, "UID in precondition: other")]
#[case(Preconditions { uid: None, resource_version: Some("1".into()) }, "ResourceVersion in precondition: 1")]
#[tokio::test]
async fn a_deletion_can_be_tied_to_what_was_seen(#[case] preconditions: Preconditions, #[case] said: &str) {
    let client = client();
    let pods: Api<Pod> = Api::default_namespaced(client);
    pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let status = refusal(pods.delete("a", &parameters).await);
    assert_eq!(status.code, 409);
    assert!(status.message.contains(said), "{}", status.message);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let client = client();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    for name in ["a", "b", "c"] {
        pods.create(&PostParams::default(), &pod(name)).await.expect("created");
    }
    let parameters =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    pods.delete_collection(&parameters, &ListParams::default().labels("app in (a,b)"))
        .await
        .expect("deleted");
    assert_eq!(pods_left(&client).await, ["c"]);
}
