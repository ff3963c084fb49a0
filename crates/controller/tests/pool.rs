//! Pools on the API server of this process.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

mod support;

use std::collections::BTreeSet;

use contract::crd::{Sandbox, SandboxSet, SandboxTemplate};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use support::{Lab, document_set, plain_set};

#[tokio::test]
async fn the_set_of_the_product_document_becomes_four_injected_pods() {
    let lab = Lab::new().await;
    lab.create::<SandboxSet>(document_set()).await;
    let set = lab.available("code-interpreter-inject-test", 4).await;
    let pods = lab.api::<Pod>().list(&ListParams::default()).await.expect("listed").items;
    assert_eq!(pods.len(), 4);
    for pod in &pods {
        let spec = pod.spec.clone().expect("a spec");
        let names = |containers: &[k8s_openapi::api::core::v1::Container]| {
            containers.iter().map(|container| container.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&spec.containers), ["sandbox"]);
        assert_eq!(names(&spec.init_containers.unwrap_or_default()), ["agent-runtime", "csi-sidecar"]);
        assert_eq!(pod.labels()["alibabacloud.com/acs"], "true");
        assert_eq!(spec.automount_service_account_token, Some(false));
    }
    let status = set.status.expect("a status");
    assert_eq!(status.updated_available_replicas, Some(4));
    let selector =
        "agents.kruise.io/sandbox-claimed=false,agents.kruise.io/sandbox-pool=code-interpreter-inject-test";
    assert_eq!(status.selector.as_deref(), Some(selector));
    let by_selector = ListParams::default().labels(selector);
    let members = lab.api::<Sandbox>().list(&by_selector).await.expect("listed").items;
    assert_eq!(members.len(), 4, "the selector of the scale subresource finds the members");
    let template = lab.api::<SandboxTemplate>().get(&status.current_revision.expect("a name")).await;
    assert_eq!(template.expect("materialised").owner_references().len(), 1);
    assert!(lab.event("SandboxCreated").await.starts_with("Created sandbox code-interpreter-inject-test-"));
    assert_eq!(lab.event("SandboxRunning").await, "Sandbox started");
}

#[tokio::test]
async fn an_edited_injection_configuration_is_not_overwritten() {
    let mut lab = Lab::bare().await;
    lab.start_controller();
    lab.create::<SandboxSet>(plain_set("first", 1)).await;
    lab.until::<Pod>("a pod, so the controller has started", |pods| pods.len() == 1).await;
    let config_maps: Api<ConfigMap> = Api::namespaced(lab.client.clone(), "sandbox-system");
    let installed = config_maps.get("sandbox-injection-config").await.expect("installed");
    let keys: Vec<String> = installed.data.expect("data").into_keys().collect();
    assert_eq!(keys, ["agent-runtime", "csi"]);
    let edit = kube::api::Patch::Merge(json!({"data": {"csi": "{}"}}));
    config_maps
        .patch("sandbox-injection-config", &kube::api::PatchParams::default(), &edit)
        .await
        .expect("edited");
    lab.start_controller();
    lab.create::<SandboxSet>(plain_set("second", 1)).await;
    lab.until::<Pod>("both sets have a pod", |pods| pods.len() == 2).await;
    let data = config_maps.get("sandbox-injection-config").await.expect("still there").data.expect("data");
    assert_eq!(data["csi"], "{}");
}

#[tokio::test]
async fn a_claimed_sandbox_is_replaced_and_survives_the_set() {
    let lab = Lab::new().await;
    lab.create::<SandboxSet>(plain_set("pool", 2)).await;
    lab.available("pool", 2).await;
    let members = lab.api::<Sandbox>().list(&ListParams::default()).await.expect("listed").items;
    let claimed = members[0].name_any();
    let claim = json!({"metadata": {"ownerReferences": null, "labels": {"agents.kruise.io/sandbox-claimed": "true"}}});
    lab.merge::<Sandbox>(&claimed, claim).await;
    lab.until::<Sandbox>("a third sandbox", |sandboxes| sandboxes.len() == 3).await;
    lab.available("pool", 2).await;
    lab.api::<SandboxSet>().delete("pool", &kube::api::DeleteParams::default()).await.expect("deleted");
    let left = lab.until::<Sandbox>("only the claimed one is left", |sandboxes| sandboxes.len() == 1).await;
    assert_eq!(left[0].name_any(), claimed);
}

#[tokio::test]
async fn a_member_whose_pod_ends_is_deleted_and_replaced() {
    let lab = Lab::new().await;
    lab.create::<SandboxSet>(plain_set("pool", 2)).await;
    lab.available("pool", 2).await;
    let before = names(&lab).await;
    let victim = before.first().expect("two members").clone();
    let failed = kube::api::Patch::Merge(json!({"status": {"phase": "Failed", "conditions": []}}));
    lab.api::<Pod>()
        .patch_status(&victim, &kube::api::PatchParams::default(), &failed)
        .await
        .expect("patched");
    lab.until::<Sandbox>("the dead one is gone", |sandboxes| {
        sandboxes.iter().all(|sandbox| sandbox.name_any() != victim)
    })
    .await;
    lab.available("pool", 2).await;
    assert_eq!(names(&lab).await.intersection(&before).count(), 1, "the other one stayed");
    assert!(lab.event("FailedSandboxDeleted").await.contains(&victim));
}

#[tokio::test]
async fn scaling_down_leaves_a_sandbox_alone_that_somebody_else_locked() {
    let lab = Lab::new().await;
    lab.create::<SandboxSet>(plain_set("pool", 3)).await;
    lab.available("pool", 3).await;
    let locked = names(&lab).await.first().expect("three members").clone();
    let lock = json!({"metadata": {"annotations": {
        "agents.kruise.io/lock": "5a0e", "agents.kruise.io/owner": "user",
    }}});
    lab.merge::<Sandbox>(&locked, lock).await;
    lab.merge::<SandboxSet>("pool", json!({"spec": {"replicas": 0}})).await;
    let left = lab.until::<Sandbox>("only the locked one is left", |sandboxes| sandboxes.len() == 1).await;
    assert_eq!(left[0].name_any(), locked);
    assert!(left[0].metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn a_changed_template_rolls_the_pool() {
    let lab = Lab::new().await;
    lab.create::<SandboxSet>(plain_set("pool", 4)).await;
    let first = lab.available("pool", 4).await.status.expect("a status");
    let before = names(&lab).await;
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "two"}]}}}});
    lab.merge::<SandboxSet>("pool", change).await;
    let sets = lab
        .until::<SandboxSet>("four available at the new revision", |sets| {
            sets.iter().any(|set| {
                let status = set.status.clone().unwrap_or_default();
                status.update_revision != first.update_revision
                    && status.updated_available_replicas == Some(4)
            })
        })
        .await;
    assert_eq!(sets[0].status.clone().expect("a status").replicas, 4);
    assert_eq!(names(&lab).await.intersection(&before).count(), 0);
    let pods = lab.api::<Pod>().list(&ListParams::default()).await.expect("listed").items;
    assert!(
        pods.iter().all(|pod| pod
            .spec
            .as_ref()
            .is_some_and(|spec| spec.containers[0].image.as_deref() == Some("two")))
    );
}

#[tokio::test]
async fn a_set_of_a_named_template_uses_it_and_waits_for_it() {
    let lab = Lab::new().await;
    let mut set = plain_set("pool", 1);
    set["spec"]["template"] = json!(null);
    set["spec"]["templateRef"] = json!({"name": "shared"});
    lab.create::<SandboxSet>(set).await;
    lab.create::<SandboxTemplate>(json!({
        "apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxTemplate", "metadata": {"name": "shared"},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "shared"}]}}},
    }))
    .await;
    let set = lab.available("pool", 1).await;
    assert_eq!(set.status.and_then(|status| status.current_revision).as_deref(), Some("shared"));
    let sandboxes = lab.api::<Sandbox>().list(&ListParams::default()).await.expect("listed").items;
    assert_eq!(sandboxes[0].labels()["agents.kruise.io/sandbox-template"], "shared");
}

async fn names(lab: &Lab) -> BTreeSet<String> {
    let members = lab.api::<Sandbox>().list(&ListParams::default()).await.expect("listed").items;
    members.iter().map(kube::ResourceExt::name_any).collect()
}
