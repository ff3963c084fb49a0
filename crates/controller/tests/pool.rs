//! Pools on the API server of this process.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

mod support;

use std::collections::BTreeSet;

use clock::Clock as _;
use contract::crd::{Sandbox, SandboxSet, SandboxTemplate};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use prometheus_client::registry::Registry;
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
        assert_eq!(spec.termination_grace_period_seconds, Some(30));
        let main = json!(spec.containers[0]);
        assert_eq!(main["imagePullPolicy"], "IfNotPresent");
        let one = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(main["resources"], json!({"limits": one, "requests": one}));
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
    let message = lab.event("InvalidTemplate").await;
    assert!(message.contains("SandboxTemplate shared, which does not exist"), "{message}");
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

/// R23 without containers, and the budget of a rolling update seen from outside.
#[tokio::test]
async fn changed_runtimes_roll_the_pool_and_leave_claimed_sandboxes_as_they_were() {
    let lab = Lab::new().await;
    let mut set = plain_set("pool", 4);
    set["spec"]["updateStrategy"] = json!({"maxUnavailable": "50%"});
    lab.create::<SandboxSet>(set).await;
    lab.available("pool", 4).await;
    let claimed = names(&lab).await.first().expect("four members").clone();
    let claim = json!({"metadata": {"ownerReferences": null, "labels": {"agents.kruise.io/sandbox-claimed": "true"}}});
    lab.merge::<Sandbox>(&claimed, claim).await;
    let before = lab.available("pool", 4).await;
    let old_members = names(&lab).await;
    let sandbox = lab.api::<Sandbox>().get(&claimed).await.expect("it is there");
    let pod = lab.api::<Pod>().get(&claimed).await.expect("it is there");

    lab.merge::<SandboxSet>("pool", json!({"spec": {"runtimes": [{"name": "csi"}]}})).await;
    let rolled = |set: &SandboxSet| {
        let status = set.status.clone().unwrap_or_default();
        status.update_revision != before.status.as_ref().and_then(|status| status.update_revision.clone())
            && status.updated_available_replicas == Some(4)
            && status.replicas == 4
    };
    let sets = lab.until::<SandboxSet>("the pool is rolled", |sets| sets.iter().any(rolled)).await;
    for kind in ["Available", "UpToDate"] {
        assert!(
            contract::conditions::is_true(&sets[0].status.as_ref().expect("a status").conditions, kind),
            "{kind}"
        );
    }
    assert!(lab.event("RollingUpdate").await.starts_with("Deleted outdated sandbox pool-"));
    let new_members: BTreeSet<String> = names(&lab).await.difference(&old_members).cloned().collect();
    assert_eq!(new_members.len(), 4, "every unclaimed sandbox was replaced");
    for name in new_members {
        let pod = lab.api::<Pod>().get(&name).await.expect("it is there");
        let containers = pod.spec.and_then(|spec| spec.init_containers).unwrap_or_default();
        assert!(containers.iter().any(|container| container.name == "csi-sidecar"), "{containers:?}");
    }
    let after = lab.api::<Sandbox>().get(&claimed).await.expect("it is still there");
    assert_eq!((after.spec, after.metadata.uid), (sandbox.spec, sandbox.metadata.uid));
    let same = lab.api::<Pod>().get(&claimed).await.expect("it is still there");
    assert_eq!((same.spec, same.metadata.uid), (pod.spec, pod.metadata.uid));
}

#[tokio::test]
async fn an_edited_named_template_rolls_the_pools_that_refer_to_it() {
    let lab = Lab::new().await;
    let template = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}});
    let mut named = template("one");
    named["metadata"] = json!({"name": "shared"});
    lab.create::<SandboxTemplate>(named).await;
    let mut set = plain_set("pool", 2);
    set["spec"]["template"] = json!(null);
    set["spec"]["templateRef"] = json!({"name": "shared"});
    lab.create::<SandboxSet>(set).await;
    lab.available("pool", 2).await;
    let before = names(&lab).await;
    lab.merge::<SandboxTemplate>("shared", template("two")).await;
    lab.until::<Sandbox>("both are replaced", |sandboxes| {
        sandboxes.len() == 2 && sandboxes.iter().all(|sandbox| !before.contains(&sandbox.name_any()))
    })
    .await;
    lab.available("pool", 2).await;
    let pods = lab.until::<Pod>("the old pods are gone", |pods| pods.len() == 2).await;
    let image = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone());
    assert!(pods.iter().all(|pod| image(pod).as_deref() == Some("two")));
}

#[tokio::test]
async fn a_template_that_cannot_be_used_stops_the_set_aloud_and_leaves_its_pool() {
    let lab = Lab::new().await;
    lab.create::<SandboxSet>(plain_set("pool", 2)).await;
    let before = lab.available("pool", 2).await.status.expect("a status");
    let members = names(&lab).await;
    let label = json!({"e2b.agents.kruise.io/csi-volume-name": "x"});
    let template = json!({"metadata": {"labels": label}});
    lab.merge::<SandboxSet>("pool", json!({"spec": {"replicas": 3, "template": template}})).await;
    let message = lab.event("InvalidTemplate").await;
    assert!(message.contains("e2b.agents.kruise.io/csi-volume-name"), "{message}");
    let told = |sets: &[SandboxSet]| {
        let status = sets[0].status.clone().unwrap_or_default();
        let condition = contract::conditions::find(&status.conditions, "UpToDate").cloned();
        condition
            .is_some_and(|condition| condition.reason == "InvalidTemplate" && condition.message == message)
    };
    let sets = lab.until::<SandboxSet>("the condition says so", told).await;
    let status = sets[0].status.clone().expect("a status");
    assert_eq!((status.replicas, status.update_revision), (2, before.update_revision));
    assert_eq!(names(&lab).await, members);
    let mended = json!({"spec": {"template": {"metadata": {"labels": {"e2b.agents.kruise.io/csi-volume-name": null}}}}});
    lab.merge::<SandboxSet>("pool", mended).await;
    let status = lab.available("pool", 3).await.status.expect("a status");
    assert!(contract::conditions::is_true(&status.conditions, "UpToDate"));
    assert_eq!(lab.events("InvalidTemplate").await.len(), 1, "it is said once");
}

#[tokio::test]
async fn old_revisions_are_marked_and_the_one_in_use_never_is() {
    let lab = Lab::new().await;
    lab.create::<SandboxSet>(plain_set("pool", 0)).await;
    let image = |image: String| json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}});
    let generation = |sets: &[SandboxSet]| {
        sets[0]
            .status
            .as_ref()
            .is_some_and(|status| status.observed_generation == sets[0].metadata.generation)
    };
    for round in 1..=11 {
        lab.clock.advance(std::time::Duration::from_secs(1));
        lab.merge::<SandboxSet>("pool", image(format!("image-{round}"))).await;
        lab.until::<SandboxSet>("it is looked at", generation).await;
    }
    let first = |templates: &[SandboxTemplate]| {
        let of = |template: &&SandboxTemplate| {
            template.spec.template.as_ref().is_some_and(|it| it.to_string().contains("\"one\""))
        };
        templates.iter().find(of).cloned().expect("the first revision")
    };
    let is_marked = |template: &SandboxTemplate| {
        template.annotations().contains_key("agents.kruise.io/cleanup-candidate")
    };
    let marked =
        |templates: &[SandboxTemplate]| templates.iter().filter(|template| is_marked(template)).count();
    let templates =
        lab.until::<SandboxTemplate>("two are marked", |all| all.len() == 12 && marked(all) == 2).await;
    assert!(is_marked(&first(&templates)));
    lab.merge::<SandboxSet>("pool", image("one".to_owned())).await;
    let templates = lab
        .until::<SandboxTemplate>("the first is unmarked", |all| !is_marked(&first(all)) && marked(all) == 2)
        .await;
    assert_eq!(templates.len(), 12, "no template was made anew");
}

/// `kubernetes.md` §9.3.
#[tokio::test]
async fn the_metrics_tell_of_pools_and_their_sandboxes() {
    let mut lab = Lab::bare().await;
    let metrics = controller::Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    lab.start_controller_with(|options| options.metrics = metrics);
    lab.start_kubelet();
    lab.create::<SandboxSet>(plain_set("pool", 2)).await;
    lab.available("pool", 2).await;
    let claimed = names(&lab).await.first().expect("two members").clone();
    let claim = json!({"metadata": {"ownerReferences": null, "labels": {"agents.kruise.io/sandbox-claimed": "true"}}});
    lab.merge::<Sandbox>(&claimed, claim).await;
    lab.until::<Sandbox>("a third sandbox", |sandboxes| sandboxes.len() == 3).await;
    lab.available("pool", 2).await;
    let expected = [
        "sandboxset_desired_replicas{namespace=\"default\",name=\"pool\"} 2.0".to_owned(),
        "sandboxset_available_replicas{namespace=\"default\",name=\"pool\"} 2.0".to_owned(),
        "sandboxset_sandboxes_created_total{namespace=\"default\",name=\"pool\"} 3".to_owned(),
        "sandboxset_sandboxes_claimed_total{namespace=\"default\",name=\"pool\"} 1".to_owned(),
        "sandbox_creation_total{namespace=\"default\",result=\"success\"} 3".to_owned(),
        "sandbox_creation_duration_seconds_count{namespace=\"default\"} 3".to_owned(),
        format!("sandbox_status_phase{{namespace=\"default\",name=\"{claimed}\",phase=\"Running\"}} 1.0"),
        format!("sandbox_status_ready{{namespace=\"default\",name=\"{claimed}\"}} 1.0"),
        "# EOF".to_owned(),
    ];
    until_told(&registry, "the lines", |text| {
        expected.iter().all(|line| text.lines().any(|found| found == line))
    })
    .await;
}

/// `kubernetes.md` §9.3: containers that don't come back, labels that were asked for, and no leak.
#[tokio::test]
async fn what_is_gone_leaves_no_series() {
    let mut lab = Lab::bare().await;
    let labels = "agents.kruise.io/sandbox-pool".parse().expect("a list");
    let metrics = controller::Metrics::with_labels(labels);
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    lab.start_controller_with(|options| options.metrics = metrics);
    lab.start_kubelet();
    lab.create::<SandboxSet>(plain_set("pool", 1)).await;
    lab.available("pool", 1).await;
    let member = names(&lab).await.first().expect("a member").clone();
    let crashed = json!({"status": {"initContainerStatuses": [
        {"name": "csi-sidecar", "image": "i", "imageID": "i", "restartCount": 1, "ready": false},
    ]}});
    let patch = Patch::Merge(crashed);
    let unix = |time: Timestamp| time.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64();
    let before = unix(lab.clock.now());
    lab.api::<Pod>().patch_status(&member, &PatchParams::default(), &patch).await.expect("patched");
    let of_sidecar = format!("{{namespace=\"default\",name=\"{member}\",container=\"csi-sidecar\"}}");
    let expected = [
        format!("sandbox_runtime_container_abnormal{of_sidecar} 1.0"),
        format!(
            "sandbox_labels{{namespace=\"default\",name=\"{member}\",label_agents_kruise_io_sandbox_pool=\"pool\"}} 1.0"
        ),
        "sandboxset_sandboxes_created_total{namespace=\"default\",name=\"pool\"} 1".to_owned(),
    ];
    until_told(&registry, "the lines", |text| {
        expected.iter().all(|line| text.lines().any(|found| found == line))
    })
    .await;
    let time = format!("sandbox_runtime_container_abnormal_time{of_sidecar} ");
    let text = service::metrics_text(&registry).expect("written");
    let since: f64 =
        text.lines().find_map(|line| line.strip_prefix(&time)?.parse().ok()).expect("since when it is so");
    assert!((before..=unix(lab.clock.now())).contains(&since), "{since} isn't later than {before}");
    lab.api::<SandboxSet>().delete("pool", &DeleteParams::background()).await.expect("deleted");
    until_told(&registry, "no series of the pool", |text| {
        !text.contains(&member) && !text.contains("\"pool")
    })
    .await;
    let kept = "sandbox_creation_total{namespace=\"default\",result=\"success\"} 1";
    until_told(&registry, "what is counted by namespace", |text| text.lines().any(|line| line == kept)).await;
}

/// Waits until the metrics are as `is_so` says.
async fn until_told(registry: &Registry, what: &str, is_so: impl Fn(&str) -> bool) {
    let mut last = String::new();
    let told = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            ticks.tick().await;
            last = service::metrics_text(registry).expect("written");
            if is_so(&last) {
                break;
            }
        }
    };
    let told = tokio::time::timeout(support::LIMIT, told).await;
    assert!(told.is_ok(), "{what}: not within {:?}:\n{last}", support::LIMIT);
}

async fn names(lab: &Lab) -> BTreeSet<String> {
    let members = lab.api::<Sandbox>().list(&ListParams::default()).await.expect("listed").items;
    members.iter().map(kube::ResourceExt::name_any).collect()
}
