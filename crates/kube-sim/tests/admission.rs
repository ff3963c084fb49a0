//! Admission policies: what they see, what they refuse and in which words.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails hard, with a message"
)]

mod common;

use common::{api, object, refusal, server};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{DeleteParams, DynamicObject, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use kube_sim::{Caller, KubeSim};
use rstest::rstest;
use serde_json::{Value, json};

const GROUP: &str = "admissionregistration.k8s.io";

fn policies(client: &Client) -> Api<DynamicObject> {
    cluster(client, "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
}

fn bindings(client: &Client) -> Api<DynamicObject> {
    cluster(client, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
}

fn cluster(client: &Client, kind: &str, plural: &str) -> Api<DynamicObject> {
    let kind = kube::api::GroupVersionKind::gvk(GROUP, "v1", kind);
    Api::all_with(client.clone(), &kube::api::ApiResource::from_gvk_with_plural(&kind, plural))
}

/// A policy named `policy` about `resources`, bound by `binding`.
async fn bind(client: &Client, operations: &[&str], resources: &[&str], more: Value, binding: Value) {
    let mut spec = json!({"matchConstraints": {"resourceRules": [
        {"apiGroups": ["*"], "apiVersions": ["*"], "operations": operations, "resources": resources}]}});
    json_patch::merge(&mut spec, &more);
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "policy"}, "spec": spec});
    policies(client).create(&PostParams::default(), &object(policy)).await.expect("the policy");
    let mut spec = json!({"policyName": "policy", "validationActions": ["Deny"]});
    json_patch::merge(&mut spec, &binding);
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "binding"}, "spec": spec});
    bindings(client).create(&PostParams::default(), &object(binding)).await.expect("the binding");
}

fn map(name: &str, data: &Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"app": "web"}}, "data": data}))
        .expect("a map")
}

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::default_namespaced(client.clone())
}

#[tokio::test]
async fn a_request_is_refused_in_the_policys_words() {
    let client = server().client("default");
    let validations = json!({"validations": [
        {"expression": "object.data.size != 'huge'", "message": "not that big"},
        {"expression": "object.data.size != 'secret'", "messageExpression": "'not ' + object.data.size", "reason": "Forbidden"},
        {"expression": "object.data.size != 'odd'"},
    ]});
    bind(&client, &["CREATE", "UPDATE"], &["configmaps"], validations, json!({})).await;
    let create = async |size: &str| {
        let map = map("m", &json!({"size": size}));
        refusal(maps(&client).create(&PostParams::default(), &map).await)
    };
    let said = "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'policy' with binding 'binding' denied request: ";
    for (size, code, reason, why) in [
        ("huge", 422, "Invalid", "not that big"),
        ("secret", 403, "Forbidden", "not secret"),
        ("odd", 422, "Invalid", "failed expression: object.data.size != 'odd'"),
    ] {
        let status = create(size).await;
        assert_eq!((status.code, status.reason.as_str()), (code, reason));
        assert_eq!(status.message, format!("{said}{why}"));
        let causes = status.details.expect("details").causes;
        assert_eq!(format!("configmaps \"m\" is forbidden: {}", causes[0].message), status.message);
    }
    maps(&client)
        .create(&PostParams::default(), &map("m", &json!({"size": "small"})))
        .await
        .expect("allowed");
    let patch = Patch::Merge(json!({"data": {"size": "huge"}}));
    let status = refusal(maps(&client).patch("m", &PatchParams::default(), &patch).await);
    assert_eq!(status.message, format!("{said}not that big"));
    let kept = maps(&client).get("m").await.expect("kept");
    assert_eq!(kept.data.expect("data")["size"], "small");
}

#[tokio::test]
async fn an_update_is_compared_with_what_was() {
    let client = server().client("default");
    let validations = json!({
        "variables": [
            {"name": "before", "expression": "oldObject.data.color"},
            {"name": "same", "expression": "variables.before == object.data.color"},
        ],
        "validations": [{"expression": "oldObject == null || variables.same", "message": "color is immutable"}],
    });
    bind(&client, &["CREATE", "UPDATE"], &["configmaps"], validations, json!({})).await;
    let maps = maps(&client);
    // What the variables can't say in a creation matters to nobody there.
    maps.create(&PostParams::default(), &map("m", &json!({"color": "red"}))).await.expect("created");
    let change = |data: Value| Patch::Merge(json!({"data": data}));
    maps.patch("m", &PatchParams::default(), &change(json!({"size": "1"}))).await.expect("another member");
    let refused = maps.patch("m", &PatchParams::default(), &change(json!({"color": "blue"}))).await;
    assert!(refusal(refused).message.ends_with("color is immutable"));
}

#[rstest]
#[case::fail("Fail", Some("expression 'object.data.missing == '1'' resulted in error: "))]
#[case::ignore("Ignore", None)]
#[tokio::test]
async fn an_expression_that_fails_counts_as_the_policy_says(
    #[case] policy: &str,
    #[case] phrase: Option<&str>,
) {
    let client = server().client("default");
    let spec = json!({"failurePolicy": policy, "validations": [{"expression": "object.data.missing == '1'", "message": "no"}]});
    bind(&client, &["CREATE"], &["configmaps"], spec, json!({})).await;
    let created = maps(&client).create(&PostParams::default(), &map("m", &json!({"a": "b"}))).await;
    match phrase {
        None => assert!(created.is_ok(), "{created:?}"),
        Some(phrase) => {
            let status = refusal(created);
            assert!(status.message.contains(phrase), "{}", status.message);
            assert_eq!(status.code, 422);
        }
    }
}

fn pod(name: &str) -> Pod {
    common::pod(name)
}

/// A policy that lets nobody but a node delete pods.
async fn guarded_pods() -> KubeSim {
    let server = server();
    let spec = json!({
        "matchConditions": [{"name": "not-a-node", "expression": "!('system:nodes' in request.userInfo.groups)"}],
        "validations": [{
            "expression": "false", "reason": "Forbidden",
            "messageExpression": "request.userInfo.username + ' may not ' + request.operation + ' ' + request.name \
                + (has(request.subResource) ? '/' + request.subResource : '') + ' of ' + request.namespace",
        }],
    });
    let client = server.client("default");
    bind(&client, &["DELETE"], &["pods"], spec, json!({})).await;
    let change = json!({"spec": {"matchConstraints": {"resourceRules": [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["pods"]},
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/eviction"]},
    ]}}});
    policies(&client).patch("policy", &PatchParams::default(), &Patch::Merge(change)).await.expect("changed");
    server
}

#[tokio::test]
async fn deletions_and_evictions_depend_on_who_asks() {
    let server = guarded_pods().await;
    let of = |caller: &Caller| Api::<Pod>::default_namespaced(server.client_as(caller, "default"));
    let (admin, node) = (of(&Caller::administrator()), of(&Caller::node("n")));
    for name in ["a", "b"] {
        admin.create(&PostParams::default(), &pod(name)).await.expect("created");
    }
    let deleted = refusal(admin.delete("a", &DeleteParams::default()).await);
    assert_eq!(deleted.code, 403);
    assert!(deleted.message.ends_with("mountlab-admin may not DELETE a of default"), "{}", deleted.message);
    let evicted = refusal(admin.evict("a", &EvictParams::default()).await);
    assert!(evicted.message.ends_with("may not CREATE a/eviction of default"), "{}", evicted.message);
    let all = admin.delete_collection(&DeleteParams::default(), &ListParams::default()).await;
    assert_eq!(refusal(all).code, 403);
    let robot = of(&Caller::service_account("default", "robot"));
    let by_robot = refusal(robot.delete("a", &DeleteParams::default()).await);
    assert!(by_robot.message.contains("system:serviceaccount:default:robot may not"), "{}", by_robot.message);
    node.delete("a", &DeleteParams::default()).await.expect("a node may");
    node.evict("b", &EvictParams::default()).await.expect("a node may");
    assert!(admin.list(&ListParams::default()).await.expect("listed").items.is_empty());
}

#[tokio::test]
async fn the_garbage_collector_asks_too() {
    let server = guarded_pods().await;
    let client = server.client("default");
    let owner =
        maps(&client).create(&PostParams::default(), &map("owner", &json!({}))).await.expect("an owner");
    let mut owned = pod("owned");
    owned.metadata.owner_references = Some(vec![
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
            "uid": owner.metadata.uid}))
        .expect("a reference"),
    ]);
    let pods = Api::<Pod>::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &owned).await.expect("created");
    maps(&client).delete("owner", &DeleteParams::default()).await.expect("deleted");
    pods.get("owned").await.expect("the collector was refused");
    let user = json!({"spec": {"matchConditions": [{"name": "cluster",
        "expression": "!('system:serviceaccounts:kube-system' in request.userInfo.groups)"}]}});
    policies(&client).patch("policy", &PatchParams::default(), &Patch::Merge(user)).await.expect("changed");
    Api::<Namespace>::all(client.clone())
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {"name": "n"}})).expect("one"),
        )
        .await
        .expect("a namespace");
    let elsewhere = Api::<Pod>::namespaced(client.clone(), "n");
    elsewhere.create(&PostParams::default(), &pod("p")).await.expect("created");
    Api::<Namespace>::all(client).delete("n", &DeleteParams::default()).await.expect("goes");
    assert!(elsewhere.get_opt("p").await.expect("asked").is_none(), "a namespace takes its pods along");
}

#[rstest]
#[case::deny("Deny", Some("failed to configure binding: no params found"))]
#[case::allow("Allow", None)]
#[tokio::test]
async fn without_params_the_binding_decides(#[case] action: &str, #[case] phrase: Option<&str>) {
    let client = server().client("default");
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"}, "validations": [{"expression": "false"}]});
    let reference = json!({"paramRef": {"selector": {}, "parameterNotFoundAction": action}});
    bind(&client, &["CREATE"], &["configmaps"], spec, reference).await;
    let created = maps(&client).create(&PostParams::default(), &map("m", &json!({}))).await;
    assert_eq!(created.is_err(), phrase.is_some());
    if let Some(phrase) = phrase {
        assert!(refusal(created).message.contains(phrase));
    }
}

#[tokio::test]
async fn a_policy_is_asked_once_with_each_of_its_params() {
    let client = server().client("default");
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "others", "expression": "params.metadata.name != object.metadata.name"}],
        "validations": [{"expression": "params.data.color != object.data.color",
            "messageExpression": "params.metadata.name + ' is ' + object.data.color + ' already'"}],
    });
    let selected = json!({"paramRef": {"selector": {"matchLabels": {"app": "web"}}, "parameterNotFoundAction": "Allow"}});
    bind(&client, &["CREATE"], &["configmaps"], spec, selected).await;
    let maps = maps(&client);
    let create = async |name: &str, color: &str| {
        maps.create(&PostParams::default(), &map(name, &json!({"color": color}))).await
    };
    create("a", "red").await.expect("the first");
    create("b", "blue").await.expect("another color");
    let refused = refusal(create("c", "blue").await);
    assert!(refused.message.ends_with("b is blue already"), "{}", refused.message);
    let missing = json!({"spec": {"paramKind": {"apiVersion": "example.com/v1", "kind": "Nothing"}}});
    policies(&client)
        .patch("policy", &PatchParams::default(), &Patch::Merge(missing))
        .await
        .expect("changed");
    let misconfigured = refusal(create("d", "green").await);
    let said = "failed to configure policy: failed to find resource referenced by paramKind: 'example.com/v1, Kind=Nothing'";
    assert!(misconfigured.message.ends_with(said), "{}", misconfigured.message);
}

#[tokio::test]
async fn a_warning_lets_the_request_pass() {
    let server = server();
    let client = server.client("default");
    let spec = json!({"validations": [{"expression": "false", "message": "careful"}]});
    bind(&client, &["CREATE"], &["configmaps"], spec, json!({"validationActions": ["Warn", "Audit"]})).await;
    let body = serde_json::to_vec(&map("m", &json!({}))).expect("written");
    let request =
        http::Request::post("/api/v1/namespaces/default/configmaps").body(body.into()).expect("a request");
    let answer = client.send(request).await.expect("answered");
    assert_eq!(answer.status(), 201);
    let warning = answer.headers()["warning"].to_str().expect("text");
    let said = "Validation failed for ValidatingAdmissionPolicy 'policy' with binding 'binding': careful";
    assert!(warning.contains(said), "{warning}");
}

#[tokio::test]
async fn a_scale_is_seen_as_one() {
    let client = server().client("default");
    let spec = json!({"validations": [{"expression": "object.spec.replicas <= 5 && object.kind == 'Scale'",
        "message": "at most five"}]});
    bind(&client, &["UPDATE"], &["*/scale"], spec, json!({})).await;
    let deployments = api(&client, "apps", "v1", "Deployment", "deployments");
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "m", "image": "i"}]}}}});
    deployments.create(&PostParams::default(), &object(deployment)).await.expect("created");
    let scale = |replicas: i32| Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch_scale("d", &PatchParams::default(), &scale(5)).await.expect("allowed");
    let refused = refusal(deployments.patch_scale("d", &PatchParams::default(), &scale(6)).await);
    assert!(refused.message.ends_with("at most five"), "{}", refused.message);
    deployments.patch("d", &PatchParams::default(), &scale(6)).await.expect("not through the scale");
}

#[tokio::test]
async fn policies_are_never_asked_about_policies() {
    let client = server().client("default");
    bind(&client, &["*"], &["*"], json!({"validations": [{"expression": "false"}]}), json!({})).await;
    refusal(maps(&client).create(&PostParams::default(), &map("m", &json!({}))).await);
    bindings(&client).delete("binding", &DeleteParams::default()).await.expect("so it can be taken away");
    maps(&client).create(&PostParams::default(), &map("m", &json!({}))).await.expect("nothing says no");
}

#[tokio::test]
async fn an_expression_that_means_nothing_is_refused() {
    let client = server().client("default");
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"}, "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
            "validations": [{"expression": "subject.name == 'x'"}]}});
    let status = refusal(policies(&client).create(&PostParams::default(), &object(policy)).await);
    assert_eq!(status.code, 422);
    let said = "spec.validations[0].expression: Invalid value: \"subject.name == 'x'\": compilation failed: ERROR: \
                undeclared reference to 'subject' (in container '')";
    assert!(status.message.contains(said), "{}", status.message);
}

#[tokio::test]
async fn an_administrator_may_ask_as_somebody_else() {
    let server = guarded_pods().await;
    let client = server.client("default");
    Api::<Pod>::default_namespaced(client.clone())
        .create(&PostParams::default(), &pod("a"))
        .await
        .expect("created");
    let delete = |user: Option<&str>| {
        let mut request = http::Request::delete("/api/v1/namespaces/default/pods/a");
        if let Some(user) = user {
            request = request.header("Impersonate-User", user).header("Impersonate-Group", "system:nodes");
        }
        request.body(kube::client::Body::empty()).expect("a request")
    };
    assert_eq!(client.send(delete(None)).await.expect("answered").status(), 403);
    assert_eq!(client.send(delete(Some("system:node:n"))).await.expect("answered").status(), 200);
}
