//! The admission policies that are installed (`kind/manifests/35-admission-policies.yaml`, `kubernetes.md` §8).
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails hard, with a message"
)]

mod common;

use common::{api, object, refusal, server};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, EvictParams, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::{Api, Client};
use kube_sim::{Caller, KubeSim};
use rstest::rstest;
use serde_json::{Value, json};

const POLICIES: &str = include_str!("../../../kind/manifests/35-admission-policies.yaml");

async fn installed() -> KubeSim {
    let server = server();
    let client = server.client("default");
    for definition in contract::crd::all() {
        let all = Api::<CustomResourceDefinition>::all(client.clone());
        all.create(&PostParams::default(), &definition).await.expect("a definition");
    }
    let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(POLICIES).expect("YAML");
    for policy in objects {
        let kind = policy.types.clone().expect("types").kind;
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", &kind);
        let all: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
        all.create(&PostParams::default(), &policy).await.expect("a policy");
    }
    server
}

fn of(client: &Client, kind: &str, plural: &str) -> Api<DynamicObject> {
    api(client, "agents.kruise.io", "v1alpha1", kind, plural)
}

fn named(kind: &str, name: &str, spec: &Value) -> DynamicObject {
    object(
        json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}),
    )
}

async fn refused(api: &Api<DynamicObject>, kind: &str, spec: &Value) -> Option<String> {
    match api.create(&PostParams::default(), &named(kind, "x", spec)).await {
        Ok(_) => None,
        other => Some(refusal(other).message),
    }
}

fn check(found: Option<&String>, phrase: Option<&str>) {
    match phrase {
        None => assert_eq!(found, None),
        Some(phrase) => assert!(found.is_some_and(|text| text.contains(phrase)), "{found:?}"),
    }
}

#[rstest]
#[case::plain(json!({"spec": {"containers": [{"name": "main"}]}}), json!([]), None)]
#[case::own_metadata(
    json!({"metadata": {"labels": {"app": "x"}, "annotations": null}, "spec": {"containers": [{"name": "main"}]}}),
    json!([]),
    None
)]
#[case::no_container(json!({"spec": {"containers": []}}), json!([]), Some("spec.template.spec.containers: at least one"))]
#[case::null_containers(json!({"spec": {"containers": null}}), json!([]), Some("at least one container"))]
#[case::no_spec(json!({"metadata": {}}), json!([]), Some("at least one container"))]
#[case::reserved_label(
    json!({"metadata": {"labels": {"app": "x", "e2b.agents.kruise.io/x": "x"}}, "spec": {"containers": [{"name": "main"}]}}),
    json!([]),
    Some("spec.template.metadata.labels: \"e2b.agents.kruise.io/x\" begins with")
)]
#[case::reserved_annotation(
    json!({"metadata": {"annotations": {"e2b.agents.kruise.io/x": "x"}}, "spec": {"containers": [{"name": "main"}]}}),
    json!([]),
    Some("spec.template.metadata.annotations: \"e2b.agents.kruise.io/x\" begins with")
)]
#[case::mounted_claim(
    json!({"spec": {"containers": [{"name": "main", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]}}),
    json!([{"metadata": {"name": "data"}}]),
    None
)]
#[case::claim_of_an_init_container(
    json!({"spec": {"containers": [{"name": "main"}],
        "initContainers": [{"name": "first", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]}}),
    json!([{"metadata": {"name": "data"}}]),
    None
)]
#[case::claim_for_nobody(
    json!({"spec": {"containers": [{"name": "main"}]}}),
    json!([{"metadata": {"name": "data"}}]),
    Some("spec.volumeClaimTemplates: no container of the template mounts \"data\"")
)]
#[tokio::test]
async fn templates_are_refused_as_the_controller_would(
    #[case] template: Value,
    #[case] claims: Value,
    #[case] phrase: Option<&str>,
) {
    let client = installed().await.client("default");
    // The controller asks the same of what was there before the policies.
    let list: Vec<Value> = serde_json::from_value(claims.clone()).expect("a list");
    assert_eq!(contract::crd::template::check(&template, &list).is_err(), phrase.is_some());
    let spec = json!({"replicas": 1, "template": template, "volumeClaimTemplates": claims});
    let sets = of(&client, "SandboxSet", "sandboxsets");
    check(refused(&sets, "SandboxSet", &spec).await.as_ref(), phrase);
    let spec = json!({"template": template, "volumeClaimTemplates": claims});
    let templates = of(&client, "SandboxTemplate", "sandboxtemplates");
    check(refused(&templates, "SandboxTemplate", &spec).await.as_ref(), phrase);
}

#[tokio::test]
async fn templates_elsewhere_are_not_looked_at() {
    let client = installed().await.client("default");
    let sets = of(&client, "SandboxSet", "sandboxsets");
    let spec = json!({"replicas": 1, "templateRef": {"name": "t"}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]});
    check(refused(&sets, "SandboxSet", &spec).await.as_ref(), None);
    let templates = of(&client, "SandboxTemplate", "sandboxtemplates");
    check(refused(&templates, "SandboxTemplate", &json!({})).await.as_ref(), Some("template is required"));
}

fn with_image() -> Value {
    json!({"spec": {"containers": [{"name": "main", "image": "two"}]}})
}

fn expression(operator: &str, values: &[&str]) -> Value {
    json!({"selector": {"matchExpressions": [{"key": "team", "operator": operator, "values": values}]}})
}

#[rstest]
#[case::plain(json!({"selector": {"matchLabels": {"team": "red"}}, "patch": with_image()}), None)]
#[case::among(expression("In", &["red"]), None)]
#[case::with_the_label(expression("Exists", &[]), None)]
#[case::no_operator(expression("Like", &["red"]), Some("supported values: \"In\""))]
#[case::among_nothing(expression("NotIn", &[]), Some("In and NotIn need values"))]
#[case::exists_as_something(expression("Exists", &["red"]), Some("Exists and DoesNotExist take none"))]
#[case::images_with_a_checkpoint(
    json!({"selector": {}, "updateStrategy": {"type": "CheckpointRestore"}, "patch": with_image()}),
    Some("CheckpointRestore it may not change images")
)]
#[case::images_without(json!({"selector": {}, "updateStrategy": {"type": "Recreate"}, "patch": with_image()}), None)]
#[case::a_checkpoint_without(
    json!({"selector": {}, "updateStrategy": {"type": "CheckpointRestore"}, "patch": {"spec": {"containers": [{"name": "main"}]}}}),
    None
)]
#[tokio::test]
async fn operations_are_refused(#[case] spec: Value, #[case] phrase: Option<&str>) {
    let client = installed().await.client("default");
    let operations = of(&client, "SandboxUpdateOps", "sandboxupdateops");
    check(refused(&operations, "SandboxUpdateOps", &spec).await.as_ref(), phrase);
}

#[tokio::test]
async fn a_patch_stays_and_a_second_operation_waits_outside() {
    let client = installed().await.client("default");
    let operations = of(&client, "SandboxUpdateOps", "sandboxupdateops");
    let spec = json!({"selector": {}, "patch": with_image()});
    operations
        .create(&PostParams::default(), &named("SandboxUpdateOps", "first", &spec))
        .await
        .expect("created");
    let merge = |value: Value| Patch::Merge(value);
    let parameters = PatchParams::default();
    let edited = merge(json!({"spec": {"patch": {"spec": {"hostname": "h"}}}}));
    assert!(
        refusal(operations.patch("first", &parameters, &edited).await)
            .message
            .contains("spec.patch is immutable")
    );
    let paused = merge(json!({"spec": {"paused": true}, "metadata": {"finalizers": ["example.com/wait"]}}));
    operations.patch("first", &parameters, &paused).await.expect("paused");
    let create = async |name: &str| {
        operations.create(&PostParams::default(), &named("SandboxUpdateOps", name, &spec)).await
    };
    let status = refusal(create("second").await);
    let said = "SandboxUpdateOps first of this namespace is not over (phase Pending)";
    assert!(status.message.contains(said), "{}", status.message);
    assert_eq!(refusal(create("first").await).reason, "AlreadyExists");
    let counts = json!({"replicas": 0, "updatedReplicas": 0, "failedReplicas": 0, "updatingReplicas": 0});
    let with_phase = |phase: &str| {
        let mut status = counts.clone();
        status["phase"] = phase.into();
        merge(json!({"status": status}))
    };
    operations.patch_status("first", &parameters, &with_phase("Updating")).await.expect("written");
    assert!(refusal(create("second").await).message.contains("(phase Updating)"));
    operations.patch_status("first", &parameters, &with_phase("Failed")).await.expect("written");
    create("second").await.expect("the first is over");
    operations.delete("second", &DeleteParams::default()).await.expect("deleted");
    operations.patch_status("first", &parameters, &with_phase("Updating")).await.expect("written");
    operations.delete("first", &DeleteParams::default()).await.expect("deletion begins");
    create("third").await.expect("the first goes");
}

fn pod(name: &str, label: &str, owner: &DynamicObject) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"agents.kruise.io/created-by": label}, "ownerReferences": [{
            "apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox", "name": owner.metadata.name,
            "uid": owner.metadata.uid, "controller": true, "blockOwnerDeletion": true}]},
        "spec": {"nodeName": "n", "containers": [{"name": "main", "image": "busybox:1"}]},
    }))
    .expect("a pod")
}

#[rstest]
#[case::a_user(Caller::administrator(), false)]
#[case::the_manager(Caller::service_account("sandbox-system", "sandbox-manager"), false)]
#[case::the_controller(Caller::service_account("sandbox-system", "sandbox-controller-manager"), true)]
#[case::a_namesake(Caller::service_account("default", "sandbox-controller-manager"), false)]
#[case::a_kubelet(Caller::node("n"), true)]
#[case::a_controller_of_the_cluster(Caller::service_account("kube-system", "pod-garbage-collector"), true)]
#[tokio::test]
async fn a_sandboxs_pod_is_deleted_only_by_whom_it_concerns(#[case] caller: Caller, #[case] allowed: bool) {
    let server = installed().await;
    let client = server.client("default");
    let template = json!({"template": {"spec": {"containers": [{"name": "main"}]}}});
    let sandboxes = of(&client, "Sandbox", "sandboxes");
    let sandbox =
        sandboxes.create(&PostParams::default(), &named("Sandbox", "s", &template)).await.expect("created");
    let pods = Api::<Pod>::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("s", "sandbox", &sandbox)).await.expect("created");
    let theirs = Api::<Pod>::default_namespaced(server.client_as(&caller, "default"));
    let evicted = theirs.evict("s", &EvictParams::default()).await;
    assert_eq!(evicted.is_ok(), allowed, "{evicted:?}");
    if allowed {
        pods.delete("s", &DeleteParams::default()).await.expect("anybody may, it is terminating");
        return;
    }
    let deleted = refusal(theirs.delete("s", &DeleteParams::default()).await);
    assert_eq!((deleted.code, deleted.reason.as_str()), (403, "Forbidden"));
    assert!(
        deleted.message.contains("the pod belongs to Sandbox s; delete the sandbox instead"),
        "{}",
        deleted.message
    );
    sandboxes.delete("s", &DeleteParams::default()).await.expect("the way to do it");
    let left = pods.get("s").await.expect("until its kubelet says that it has ended");
    assert!(left.metadata.deletion_timestamp.is_some());
}

#[tokio::test]
async fn other_pods_are_nobodys_business() {
    let client = installed().await.client("default");
    let template = json!({"template": {"spec": {"containers": [{"name": "main"}]}}});
    let sandboxes = of(&client, "Sandbox", "sandboxes");
    let sandbox =
        sandboxes.create(&PostParams::default(), &named("Sandbox", "s", &template)).await.expect("created");
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let leave = json!({"metadata": {"finalizers": ["example.com/wait"]}});
    sandboxes.patch("s", &PatchParams::default(), &Patch::Merge(leave)).await.expect("kept");
    pods.create(&PostParams::default(), &pod("external", "external", &sandbox)).await.expect("created");
    pods.create(&PostParams::default(), &pod("s", "sandbox", &sandbox)).await.expect("created");
    pods.delete("external", &DeleteParams::default()).await.expect("not a sandbox's");
    refusal(pods.delete("s", &DeleteParams::default()).await);
    sandboxes.delete("s", &DeleteParams::default()).await.expect("begins");
    pods.delete("s", &DeleteParams::default()).await.expect("its sandbox goes");
}
