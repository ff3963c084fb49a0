//! The definitions of `agents.kruise.io` and the product document's objects.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod common;

use common::{api, client, object, refusal};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rstest::rstest;
use serde_json::{Value, json};

async fn cluster() -> Client {
    let client = client();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in contract::crd::all() {
        definitions.create(&PostParams::default(), &definition).await.expect("installed");
    }
    client
}

fn agents(client: &Client, kind: &str, plural: &str) -> Api<DynamicObject> {
    api(client, contract::crd::GROUP, contract::crd::VERSION, kind, plural)
}

fn claim(spec: &Value) -> DynamicObject {
    object(json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxClaim",
        "metadata": {"name": "c"}, "spec": spec}))
}

#[rstest]
#[case(json!({}), "spec.templateName: Required value")]
#[case(json!({"templateName": "t", "replicas": 0}), "should be greater than or equal to 1")]
#[case(json!({"templateName": "t", "claimTimeout": "10ms"}), "claimTimeout must be at least 1s")]
#[case(json!({"templateName": "t", "dynamicVolumesMount": [
    {"pvName": "a", "mountPath": "/x"}, {"pvName": "b", "mountPath": "/x"}]}),
    "spec.dynamicVolumesMount[1]: Duplicate value: {\"mountPath\":\"/x\"}")]
#[tokio::test]
async fn a_wrong_claim_is_refused(#[case] spec: Value, #[case] said: &str) {
    let claims = agents(&cluster().await, "SandboxClaim", "sandboxclaims");
    let status = refusal(claims.create(&PostParams::default(), &claim(&spec)).await);
    assert_eq!(status.code, 422);
    assert!(status.message.contains(said), "{}", status.message);
}

#[tokio::test]
async fn a_claim_gets_its_defaults_and_keeps_its_replicas() {
    let claims = agents(&cluster().await, "SandboxClaim", "sandboxclaims");
    let stored =
        claims.create(&PostParams::default(), &claim(&json!({"templateName": "t"}))).await.expect("created");
    assert_eq!(stored.data["spec"]["claimTimeout"], "1m");
    assert_eq!(stored.data["spec"]["replicas"], 1);
    let more = Patch::Merge(json!({"spec": {"replicas": 2}}));
    let status = refusal(claims.patch("c", &PatchParams::default(), &more).await);
    assert!(status.message.contains("replicas is immutable"), "{}", status.message);
}

#[tokio::test]
async fn a_template_keeps_what_no_schema_knows() {
    let sets = agents(&cluster().await, "SandboxSet", "sandboxsets");
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "sandbox", "odd": 1}]}});
    let set = object(json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxSet",
        "metadata": {"name": "s"}, "spec": {"replicas": 4, "runtimes": [{"name": "csi"}], "template": template}}));
    let stored = sets.create(&PostParams::default(), &set).await.expect("created");
    assert_eq!(stored.data["spec"]["template"], template);
    let one = Patch::Merge(json!({"spec": {"replicas": 1}}));
    let scaled = sets.patch_scale("s", &PatchParams::default(), &one).await.expect("scaled");
    assert_eq!(scaled.spec.expect("a spec").replicas, Some(1));
}

#[rstest]
#[case(json!({"selector": {}}), false)]
#[case(json!({"selector": {}, "egress": {"rules": [{"action": "allow", "to": [{"cidr": "10.0.0.0/8"}]}]}}), true)]
#[tokio::test]
async fn a_policy_without_rules_is_refused(#[case] spec: Value, #[case] valid: bool) {
    let policies = agents(&cluster().await, "TrafficPolicy", "trafficpolicies");
    let policy = object(json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "TrafficPolicy",
        "metadata": {"name": "p"}, "spec": spec}));
    assert_eq!(policies.create(&PostParams::default(), &policy).await.is_ok(), valid);
}
