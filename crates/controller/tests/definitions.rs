//! The definitions bite when an API server has them (`kubernetes.md` §1).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

mod support;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use rstest::rstest;
use serde_json::{Value, json};
use support::Lab;

fn api(lab: &Lab, kind: &str, plural: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("agents.kruise.io", "v1alpha1", kind);
    Api::namespaced_with(lab.client.clone(), "default", &ApiResource::from_gvk_with_plural(&kind, plural))
}

async fn create(lab: &Lab, kind: &str, plural: &str, spec: Value) -> kube::Result<DynamicObject> {
    let json = json!({
        "apiVersion": "agents.kruise.io/v1alpha1", "kind": kind, "metadata": {"name": "one"}, "spec": spec,
    });
    let object = serde_json::from_value(json).expect("an object");
    api(lab, kind, plural).create(&PostParams::default(), &object).await
}

#[tokio::test]
async fn a_claim_gets_its_defaults() {
    let lab = Lab::bare().await;
    let claim = create(&lab, "SandboxClaim", "sandboxclaims", json!({"templateName": "pool"}))
        .await
        .expect("created");
    assert_eq!(
        claim.data["spec"],
        json!({
            "templateName": "pool", "replicas": 1, "claimTimeout": "1m", "ttlAfterCompleted": "60m",
            "reserveFailedSandbox": false, "createOnNoStock": true, "waitReadyTimeout": "30s", "skipInitRuntime": false,
        })
    );
}

#[tokio::test]
async fn the_replicas_of_a_claim_are_immutable() {
    let lab = Lab::bare().await;
    create(&lab, "SandboxClaim", "sandboxclaims", json!({"templateName": "pool"})).await.expect("created");
    let patch = Patch::Merge(json!({"spec": {"replicas": 2}}));
    let claims = api(&lab, "SandboxClaim", "sandboxclaims");
    let error = claims.patch("one", &PatchParams::default(), &patch).await.expect_err("refused");
    assert!(error.to_string().contains("replicas is immutable"), "{error}");
}

#[rstest]
#[case::no_template_name("SandboxClaim", "sandboxclaims", json!({}), "templateName")]
#[case::no_replicas("SandboxClaim", "sandboxclaims", json!({"templateName": "p", "replicas": 0}), "replicas")]
#[case::short_timeout("SandboxClaim", "sandboxclaims", json!({"templateName": "p", "claimTimeout": "500ms"}), "at least 1s")]
#[case::short_wait("SandboxClaim", "sandboxclaims", json!({"templateName": "p", "waitReadyTimeout": "0s"}), "at least 1s")]
#[case::duplicate_mount_path("SandboxClaim", "sandboxclaims", json!({"templateName": "p", "dynamicVolumesMount": [
    {"pvName": "a", "mountPath": "/a"}, {"pvName": "b", "mountPath": "/a"},
]}), "Duplicate value")]
#[case::no_replicas_in_set("SandboxSet", "sandboxsets", json!({}), "replicas")]
#[case::negative_replicas("SandboxSet", "sandboxsets", json!({"replicas": -1}), "spec.replicas: Invalid value: \"integer\": must not be negative")]
#[case::template_and_reference("SandboxSet", "sandboxsets", json!({"replicas": 1, "template": {}, "templateRef": {"name": "t"}}), "only one of template and templateRef")]
#[case::negative_budget("SandboxSet", "sandboxsets", json!({"replicas": 1, "updateStrategy": {"maxUnavailable": -1}}), "a percentage such as 20%")]
#[case::budget_in_words("SandboxSet", "sandboxsets", json!({"replicas": 1, "updateStrategy": {"maxUnavailable": "few"}}), "a percentage such as 20%")]
#[case::budget_without_percent("SandboxSet", "sandboxsets", json!({"replicas": 1, "scaleStrategy": {"maxUnavailable": "20"}}), "a percentage such as 20%")]
#[case::no_template("SandboxTemplate", "sandboxtemplates", json!({"runtimes": [{"name": "csi"}]}), "template is required")]
#[case::no_selector("SandboxUpdateOps", "sandboxupdateops", json!({}), "selector")]
#[case::bad_selector("SandboxUpdateOps", "sandboxupdateops", json!({"selector": {"matchExpressions": [
    {"key": "a", "operator": "Like", "values": ["b"]},
]}}), "Like")]
#[case::hook_without_command("SandboxUpdateOps", "sandboxupdateops", json!({
    "selector": {}, "lifecycle": {"preUpgrade": {"timeoutSeconds": 5}},
}), "exec is required")]
#[case::negative_pace("SandboxUpdateOps", "sandboxupdateops", json!({"selector": {}, "updateStrategy": {"maxUnavailable": -2}}), "a percentage such as 20%")]
#[case::pause_strategy("Sandbox", "sandboxes", json!({"pauseStrategy": {"type": "Freeze"}}), "Freeze")]
#[case::no_date("Sandbox", "sandboxes", json!({"shutdownTime": "tomorrow"}), "shutdownTime")]
#[case::no_direction("TrafficPolicy", "trafficpolicies", json!({"selector": {}}), "at least one of ingress and egress")]
#[case::two_peers("TrafficPolicy", "trafficpolicies", json!({"selector": {}, "egress": {"rules": [
    {"action": "allow", "to": [{"cidr": "10.0.0.0/8", "fqdn": "example.com"}]},
]}}), "exactly one of")]
#[case::ports_backwards("TrafficPolicy", "trafficpolicies", json!({"selector": {}, "egress": {"rules": [
    {"action": "allow", "ports": [{"port": 80, "endPort": 79}]},
]}}), "endPort must not be less than port")]
#[tokio::test]
async fn bad_objects_are_refused(
    #[case] kind: &str,
    #[case] plural: &str,
    #[case] spec: Value,
    #[case] phrase: &str,
) {
    let lab = Lab::bare().await;
    let error = create(&lab, kind, plural, spec).await.expect_err("refused");
    assert!(error.to_string().contains(phrase), "{error}");
}

#[rstest]
#[case::number(json!(0))]
#[case::percentage(json!("150%"))]
#[tokio::test]
async fn budgets_may_be_numbers_and_percentages(#[case] budget: Value) {
    let lab = Lab::bare().await;
    let strategy = json!({"maxUnavailable": budget});
    let spec = json!({"replicas": 0, "updateStrategy": strategy, "scaleStrategy": strategy});
    let set = create(&lab, "SandboxSet", "sandboxsets", spec).await.expect("created");
    assert_eq!(
        (&set.data["spec"]["updateStrategy"], &set.data["spec"]["scaleStrategy"]),
        (&strategy, &strategy)
    );
}

#[tokio::test]
async fn a_set_is_rolled_a_fifth_at_a_time_when_it_does_not_say() {
    let lab = Lab::bare().await;
    let set = create(&lab, "SandboxSet", "sandboxsets", json!({"replicas": 0})).await.expect("created");
    assert_eq!(set.data["spec"], json!({"replicas": 0, "updateStrategy": {"maxUnavailable": "20%"}}));
}

#[rstest]
#[case::selector(json!({"selector": {"matchLabels": {"a": "c"}}}), "selector is immutable")]
#[case::patch_taken_away(json!({"patch": null}), "patch is immutable")]
#[case::hooks_changed(json!({"lifecycle": {"preUpgrade": {"exec": {"command": ["b"]}}}}), "lifecycle is immutable")]
#[case::hooks_taken_away(json!({"lifecycle": null}), "lifecycle is immutable")]
#[tokio::test]
async fn what_an_operation_upgrades_and_how_is_immutable(#[case] change: Value, #[case] phrase: &str) {
    let lab = Lab::bare().await;
    let spec = json!({
        "selector": {"matchLabels": {"a": "b"}}, "patch": {"spec": {}},
        "lifecycle": {"preUpgrade": {"exec": {"command": ["a"]}}},
    });
    create(&lab, "SandboxUpdateOps", "sandboxupdateops", spec).await.expect("created");
    let operations = api(&lab, "SandboxUpdateOps", "sandboxupdateops");
    let paused = Patch::Merge(json!({"spec": {"paused": true}}));
    operations.patch("one", &PatchParams::default(), &paused).await.expect("pausing is allowed");
    let patch = Patch::Merge(json!({"spec": change}));
    let error = operations.patch("one", &PatchParams::default(), &patch).await.expect_err("refused");
    assert!(error.to_string().contains(phrase), "{error}");
}

#[tokio::test]
async fn templates_are_stored_as_they_came() {
    let lab = Lab::bare().await;
    let template =
        json!({"metadata": {"odd": [1, {"x": null}]}, "spec": {"containers": "not a list", "future": 1}});
    let spec = json!({"replicas": 0, "template": template});
    let set = create(&lab, "SandboxSet", "sandboxsets", spec).await.expect("stored");
    assert_eq!(set.data["spec"]["template"], template);
}
