//! In-place update of a claimed sandbox (`kubernetes.md` §5.8): what is written to the pod, and what the API refuses.

use kube::ResourceExt as _;
use serde_json::Value;

use super::*;
use crate::support::willing_runtime;

fn update(sandbox: &Sandbox) -> Option<(&str, &str, &str)> {
    let condition = conditions::find(&sandbox.status.as_ref()?.conditions, types::INPLACE_UPDATE)?;
    Some((&condition.status, &condition.reason, &condition.message))
}

fn is_updating(sandbox: &Sandbox) -> bool {
    update(sandbox).is_some_and(|(_, reason, _)| reason == "InplaceUpdating")
}

async fn change(lab: &Lab, container: Value) {
    let template = json!({"spec": {"containers": [container]}});
    lab.merge::<Sandbox>("one", json!({"spec": {"template": template}})).await;
}

/// The kubelet tells of a main container of that image.
async fn run_image(lab: &Lab, id: &str, image: &str) {
    let status = json!({"name": "main", "image": image, "imageID": format!("id-of-{image}"), "ready": true,
        "restartCount": 1, "containerID": id, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}});
    let patch = kube::api::Patch::Merge(json!({"status": {"containerStatuses": [status]}}));
    lab.api::<Pod>().patch_status("one", &kube::api::PatchParams::default(), &patch).await.expect("patched");
}

async fn pod_with(lab: &Lab, what: &str, is_so: impl Fn(&Pod) -> bool) -> Pod {
    lab.until::<Pod>(what, |pods| pods.iter().any(&is_so)).await[0].clone()
}

fn image(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.containers[0].image.as_deref()
}

fn state(pod: &Pod) -> Value {
    let text = &pod.annotations()["agents.kruise.io/inplace-update-state"];
    serde_json::from_str(text).expect("JSON")
}

#[tokio::test]
async fn an_image_is_changed_twice_in_the_same_pod_and_each_time_everything_comes_back() {
    let lab = Lab::new().await;
    let runtime = willing_runtime().await;
    lab.secret_and_volume().await;
    claimed(&lab, &runtime).await;
    let before = lab.api::<Pod>().get("one").await.expect("a pod");
    for (round, (last, id, to)) in
        [("first", "second", "two"), ("second", "third", "three")].into_iter().enumerate()
    {
        change(&lab, json!({"name": "main", "image": to})).await;
        let pod = pod_with(&lab, "the pod is patched", |pod| image(pod) == Some(to)).await;
        assert_eq!(pod.uid(), before.uid());
        let noted = state(&pod);
        assert_eq!(noted["revision"], json!(pod.labels()["pod-template-hash"]));
        assert_eq!(noted["lastContainerStatuses"]["main"]["containerID"], last);
        assert_eq!((&noted["updateImages"], &noted["updateResources"]), (&json!(true), &json!(false)));
        let updating = lab.until::<Sandbox>("it says so", |all| is_updating(&all[0])).await;
        assert_eq!(ready_reason(&updating[0]).as_deref(), Some("InplaceUpdating"));
        run_image(&lab, id, to).await;
        let ready = lab.until::<Sandbox>("ready again", |all| is_ready(&all[0])).await;
        assert_eq!(update(&ready[0]), Some(("True", "Succeeded", "")));
        assert_eq!(
            (initialized(&ready[0]), remembered(&ready[0])),
            (Some(("True", "Succeeded", "")), Some(id))
        );
        let asked = runtime.received_requests().await.expect("recorded");
        let paths: Vec<_> = asked.iter().map(|request| request.url.path()).collect();
        assert_eq!(paths, ["/init", "/v1/storage/mounts"].repeat(round + 1));
    }
}

#[tokio::test]
async fn resources_go_through_resize_and_a_refusal_is_told_until_it_is_put_back() {
    let lab = Lab::new().await;
    let resources = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": "4"}});
    let template = |cpu: &str| json!({"name": "main", "image": "one", "resources": resources(cpu)});
    let spec = json!({"template": {"spec": {"containers": [template("1")]}}});
    lab.create::<Sandbox>(sandbox("one", spec)).await;
    lab.until::<Sandbox>("ready", |all| is_ready(&all[0])).await;
    change(&lab, template("2")).await;
    let is_resized = |pod: &Pod| {
        let resources = pod.spec.as_ref().and_then(|spec| spec.containers[0].resources.clone());
        resources.and_then(|resources| resources.requests).is_some_and(|requests| requests["cpu"].0 == "2")
    };
    let pod = pod_with(&lab, "the pod is resized and noted", |pod| {
        is_resized(pod) && pod.annotations().contains_key("agents.kruise.io/inplace-update-state")
    })
    .await;
    assert_eq!(state(&pod)["updateResources"], true);
    lab.until::<Sandbox>("done, as far as this node tells", |all| {
        update(&all[0]).is_some_and(|(status, _, _)| status == "True") && is_ready(&all[0])
    })
    .await;

    change(&lab, json!({"name": "main", "image": "", "resources": resources("2")})).await;
    let told = lab.event("InplaceUpdateFailed").await;
    assert!(told.contains("the API server refuses to change the pod") && told.contains("image"), "{told}");
    let failed = lab
        .until::<Sandbox>("it says why, and runs on", |all| {
            update(&all[0]).is_some_and(|(_, reason, _)| reason == "Failed") && is_ready(&all[0])
        })
        .await;
    assert_eq!(lab.events("InplaceUpdateFailed").await.len(), 1, "{failed:?}");
    change(&lab, template("2")).await;
    lab.until::<Sandbox>("put back", |all| update(&all[0]).is_some_and(|(status, _, _)| status == "True"))
        .await;
}
