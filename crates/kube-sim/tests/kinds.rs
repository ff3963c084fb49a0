//! Kinds with something of their own: several versions, selectable fields, what may not change.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod common;

use common::{api, client, object, pod, refusal};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rstest::rstest;
use serde_json::{Value, json};

async fn define(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "selectableFields": [{"jsonPath": ".spec.color"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"color": {"type": "string"}}}}}}})
    };
    let definition = serde_json::from_value(json!({
        "metadata": {"name": "things.demo.dev"},
        "spec": {"group": "demo.dev", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [version("v1beta1", false), version("v1", true)]},
    }));
    definitions.create(&PostParams::default(), &definition.expect("a definition")).await.expect("created");
}

#[tokio::test]
async fn an_object_is_seen_in_every_served_version() {
    let client = client();
    define(&client).await;
    let (old, new) = (
        api(&client, "demo.dev", "v1beta1", "Thing", "things"),
        api(&client, "demo.dev", "v1", "Thing", "things"),
    );
    let thing = json!({"apiVersion": "demo.dev/v1beta1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"color": "red"}});
    old.create(&PostParams::default(), &object(thing)).await.expect("created");
    let seen = new.get("t").await.expect("there");
    assert_eq!(seen.types.map(|types| types.api_version).as_deref(), Some("demo.dev/v1"));
    let blue = Patch::Merge(json!({"spec": {"color": "blue"}}));
    new.patch("t", &PatchParams::default(), &blue).await.expect("patched");
    let seen = old.get("t").await.expect("there");
    assert_eq!(seen.types.map(|types| types.api_version).as_deref(), Some("demo.dev/v1beta1"));
    assert_eq!(seen.data["spec"]["color"], "blue");
}

#[rstest]
#[case("spec.color=red", Ok(1))]
#[case("spec.color!=red", Ok(0))]
#[case("spec.size=1", Err(400))]
#[tokio::test]
async fn custom_objects_are_selected_by_the_fields_that_allow_it(
    #[case] selector: &str,
    #[case] found: Result<usize, u16>,
) {
    let client = client();
    define(&client).await;
    let things = api(&client, "demo.dev", "v1", "Thing", "things");
    let thing = json!({"apiVersion": "demo.dev/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"color": "red"}});
    things.create(&PostParams::default(), &object(thing)).await.expect("created");
    let listed = things.list(&ListParams::default().fields(selector)).await;
    match found {
        Ok(count) => assert_eq!(listed.expect("listed").items.len(), count),
        Err(code) => assert_eq!(refusal(listed).code, code),
    }
}

fn volume() -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": {
        "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteMany"],
        "csi": {"driver": "ossplugin.csi.alibabacloud.com", "volumeHandle": "v", "volumeAttributes": {"bucket": "b"}},
    }})
}

#[rstest]
#[case(json!({"spec": {"accessModes": null}}), "spec.accessModes: Required value")]
#[case(json!({"spec": {"accessModes": ["Sometimes"]}}), "spec.accessModes: Unsupported value: \"Sometimes\"")]
#[case(json!({"spec": {"csi": null}}), "spec: Required value: must specify a volume type")]
#[case(json!({"spec": {"csi": {"volumeHandle": ""}}}), "spec.csi.volumeHandle: Required value")]
#[case(json!({"spec": {"nfs": {"server": "s", "path": "/"}}}), "spec.nfs: Forbidden: may not specify more than 1 volume type")]
#[tokio::test]
async fn a_wrong_volume_is_refused(#[case] change: Value, #[case] said: &str) {
    let client = client();
    let volumes: Api<k8s_openapi::api::core::v1::PersistentVolume> = Api::all(client);
    let mut wrong = volume();
    json_patch::merge(&mut wrong, &change);
    let wrong = serde_json::from_value(wrong).expect("a volume");
    let status = refusal(volumes.create(&PostParams::default(), &wrong).await);
    assert!(status.message.contains(said), "{}", status.message);
}

#[rstest]
#[case("PersistentVolume", "persistentvolumes", volume(),
    json!({"spec": {"csi": {"volumeAttributes": {"bucket": "c"}}}}), "is immutable after creation")]
#[case("ConfigMap", "configmaps", json!({"metadata": {"name": "v"}, "immutable": true, "data": {"a": "b"}}),
    json!({"data": {"a": "c"}}), "data: Forbidden: field is immutable when `immutable` is set")]
#[case("Secret", "secrets", json!({"metadata": {"name": "v"}, "type": "Opaque"}),
    json!({"type": "other"}), "type: Invalid value: \"other\": field is immutable")]
#[tokio::test]
async fn what_may_not_change_does_not(
    #[case] kind: &str,
    #[case] plural: &str,
    #[case] mut first: Value,
    #[case] change: Value,
    #[case] said: &str,
) {
    first["apiVersion"] = "v1".into();
    first["kind"] = kind.into();
    let resource = kube::api::ApiResource::from_gvk_with_plural(
        &kube::api::GroupVersionKind::gvk("", "v1", kind),
        plural,
    );
    let client = client();
    let things: Api<kube::api::DynamicObject> = if kind == "PersistentVolume" {
        Api::all_with(client, &resource)
    } else {
        Api::default_namespaced_with(client, &resource)
    };
    things.create(&PostParams::default(), &object(first)).await.expect("created");
    let status = refusal(things.patch("v", &PatchParams::default(), &Patch::Merge(change)).await);
    assert_eq!(status.code, 422);
    assert!(status.message.contains(said), "{}", status.message);
}

#[tokio::test]
async fn the_resources_of_a_running_pod_change_only_through_resize() {
    let pods: Api<Pod> = Api::default_namespaced(client());
    let resources = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
    let mut small = serde_json::to_value(pod("a")).expect("JSON");
    small["spec"]["containers"][0]["resources"] = resources("500m");
    let small: Pod = serde_json::from_value(small).expect("a pod");
    pods.create(&PostParams::default(), &small).await.expect("created");
    let change = |resources| {
        Patch::Strategic(json!({"spec": {"containers": [{"name": "main", "resources": resources}]}}))
    };
    let more = change(resources("1"));
    assert_eq!(refusal(pods.patch("a", &PatchParams::default(), &more).await).code, 422);
    let resized =
        pods.patch_subresource("resize", "a", &PatchParams::default(), &more).await.expect("resized");
    assert_eq!(resized.metadata.generation, Some(2));
    let guaranteed = change(json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}));
    let status = refusal(pods.patch_subresource("resize", "a", &PatchParams::default(), &guaranteed).await);
    assert!(status.message.contains("Pod QOS Class may not change"), "{}", status.message);
}

/// A pod with an init container and two containers, one of which has something else at the token's place.
fn pod_with(spec: &Value) -> Pod {
    let place = "/var/run/secrets/kubernetes.io/serviceaccount";
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {
        "initContainers": [{"name": "first", "image": "busybox:1"}],
        "containers": [
            {"name": "main", "image": "busybox:1", "volumeMounts": [{"name": "own", "mountPath": "/own"}]},
            {"name": "special", "image": "busybox:1", "volumeMounts": [{"name": "own", "mountPath": place}]},
        ],
        "volumes": [{"name": "own", "emptyDir": {}}],
    }});
    json_patch::merge(&mut pod["spec"], spec);
    serde_json::from_value(pod).expect("a pod")
}

async fn account(client: &Client, name: &str, change: Value) {
    let accounts = api(client, "", "v1", "ServiceAccount", "serviceaccounts");
    let mut account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
    json_patch::merge(&mut account, &change);
    accounts.create(&PostParams::default(), &object(account)).await.expect("created");
}

#[tokio::test]
async fn a_pod_gets_its_account_and_a_volume_with_a_token() {
    let client = client();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let parameters = PostParams { field_manager: Some("somebody".into()), ..PostParams::default() };
    let pod = json!(pods.create(&parameters, &pod_with(&json!({}))).await.expect("created"));
    let spec = &pod["spec"];
    assert_eq!(
        (&spec["serviceAccountName"], &spec["serviceAccount"]),
        (&json!("default"), &json!("default"))
    );
    let name = spec["volumes"][1]["name"].as_str().expect("a second volume");
    assert_eq!(name.strip_prefix("kube-api-access-").map(str::len), Some(5), "{name}");
    assert_eq!(
        spec["volumes"][1]["projected"],
        json!({"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]})
    );
    let mount =
        json!({"name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
    assert_eq!(spec["initContainers"][0]["volumeMounts"], json!([mount]));
    assert_eq!(spec["containers"][0]["volumeMounts"][1], mount);
    assert_eq!(spec["containers"][1]["volumeMounts"].as_array().map(Vec::len), Some(1));
    // What the server added belongs to nobody: an apply of the same manifest takes nothing away.
    assert!(!pod["metadata"]["managedFields"].to_string().contains("kube-api-access"), "{pod}");
}

#[rstest]
#[case::the_pod_says_no(json!({"automountServiceAccountToken": false}), false)]
#[case::the_account_says_no(json!({"serviceAccountName": "quiet"}), false)]
#[case::the_pod_decides(json!({"serviceAccountName": "quiet", "automountServiceAccountToken": true}), true)]
#[case::by_the_old_name(json!({"serviceAccount": "quiet"}), false)]
#[case::every_place_is_taken(json!({"initContainers": null, "containers": [{"name": "main", "image": "busybox:1",
    "volumeMounts": [{"name": "own", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}]}), false)]
#[tokio::test]
async fn a_token_is_mounted_unless_somebody_says_no(#[case] spec: Value, #[case] mounted: bool) {
    let client = client();
    account(&client, "quiet", json!({"automountServiceAccountToken": false})).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = json!(pods.create(&PostParams::default(), &pod_with(&spec)).await.expect("created"));
    assert_eq!(pod["spec"].to_string().contains("kube-api-access-"), mounted, "{pod}");
}

#[tokio::test]
async fn a_users_own_volume_of_the_tokens_name_and_the_accounts_pull_secrets_are_used() {
    let client = client();
    account(&client, "puller", json!({"imagePullSecrets": [{"name": "registry"}]})).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let change = json!({"serviceAccountName": "puller", "volumes": [
        {"name": "own", "emptyDir": {}}, {"name": "kube-api-access-mine", "emptyDir": {}}]});
    let pod = json!(pods.create(&PostParams::default(), &pod_with(&change)).await.expect("created"));
    assert_eq!(pod["spec"]["volumes"].as_array().map(Vec::len), Some(2));
    assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][1]["name"], "kube-api-access-mine");
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": "registry"}]));
}

#[tokio::test]
async fn a_pod_of_an_account_that_is_not_there_is_refused() {
    let pods: Api<Pod> = Api::default_namespaced(client());
    let mut pod = pod_with(&json!({"serviceAccountName": "nobody"}));
    let status = refusal(pods.create(&PostParams::default(), &pod).await);
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    let why =
        "is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found";
    assert_eq!(status.message, format!("pods \"p\" {why}"));
    pod.metadata.name = None;
    pod.metadata.generate_name = Some("some-".to_owned());
    let status = refusal(pods.create(&PostParams::default(), &pod).await);
    assert_eq!(status.message, format!("pods \"some-\" {why}"));
    let apply = PatchParams::apply("somebody");
    let applied = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"serviceAccountName": "nobody",
        "containers": [{"name": "main", "image": "busybox:1"}]}});
    let status = refusal(pods.patch("p", &apply, &Patch::Apply(&applied)).await);
    assert_eq!(status.message, format!("pods \"p\" {why}"));
    assert_eq!(pods.list(&ListParams::default()).await.expect("listed").items.len(), 0);
}
