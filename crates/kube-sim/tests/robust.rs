//! Whatever a client sends, it gets an answer and the server goes on.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod common;

use kube::Client;
use kube::client::Body;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

/// Names that the server looks for, so that odd values get where they are looked at.
const NAMES: [&str; 28] = [
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "namespace",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "spec",
    "status",
    "containers",
    "volumes",
    "env",
    "valueFrom",
    "ports",
    "image",
    "names",
    "versions",
    "schema",
    "openAPIV3Schema",
    "properties",
    "type",
    "data",
    "stringData",
    "$patch",
    "uid",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        proptest::sample::select(vec!["", "a", "v1", "Pod", "main", "object", "replace", "delete"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((proptest::sample::select(NAMES.to_vec()), inner), 0..6).prop_map(
                |members| {
                    members
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect::<Map<_, _>>()
                        .into()
                }
            ),
        ]
    })
}

async fn send(client: &Client, method: &str, path: &str, content_type: &str, body: &Value) -> u16 {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .body(Body::from(body.to_string().into_bytes()))
        .expect("a request");
    client.send(request).await.expect("an answer").status().as_u16()
}

/// An object that is valid but for what `odd` changes.
fn spoiled(kind: &str, api_version: &str, odd: &Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}});
    json_patch::merge(&mut object, odd);
    if let Some(members) = object.as_object_mut() {
        members.insert("apiVersion".into(), api_version.into());
        members.insert("kind".into(), kind.into());
    }
    object
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn odd_objects_are_answered(odd in value()) {
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let client = common::client();
            for (path, kind, api_version) in [
                ("/api/v1/namespaces/default/pods", "Pod", "v1"),
                ("/api/v1/namespaces/default/secrets", "Secret", "v1"),
                ("/api/v1/namespaces", "Namespace", "v1"),
                ("/api/v1/persistentvolumes", "PersistentVolume", "v1"),
                ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "CustomResourceDefinition",
                    "apiextensions.k8s.io/v1"),
                ("/apis/events.k8s.io/v1/namespaces/default/events", "Event", "events.k8s.io/v1"),
                ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "X", "v1"),
            ] {
                let object = spoiled(kind, api_version, &odd);
                prop_assert!(send(&client, "POST", path, "application/json", &odd).await < 500);
                prop_assert!(send(&client, "POST", path, "application/json", &object).await < 500);
                let one = format!("{path}/a?fieldManager=me&force=true");
                prop_assert!(send(&client, "PATCH", &one, "application/apply-patch+yaml", &object).await < 500);
                prop_assert!(send(&client, "PUT", &one, "application/json", &object).await < 500);
                prop_assert!(send(&client, "DELETE", &one, "application/json", &odd).await < 500);
            }
            Ok(())
        })?;
    }

    #[test]
    fn odd_patches_are_answered(odd in value()) {
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let client = common::client();
            let pods = "/api/v1/namespaces/default/pods";
            let pod = serde_json::to_value(common::pod("a")).expect("a pod");
            let mut pod = spoiled("Pod", "v1", &pod);
            pod["metadata"]["finalizers"] = json!(["demo.dev/stay"]);
            prop_assert_eq!(send(&client, "POST", pods, "application/json", &pod).await, 201);
            for kind in ["json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"] {
                for part in ["", "/status", "/resize"] {
                    let path = format!("{pods}/a{part}?fieldManager=me");
                    let answer = send(&client, "PATCH", &path, &format!("application/{kind}"), &odd).await;
                    prop_assert!(answer < 500);
                }
            }
            let step = json!([{"op": "replace", "path": "/metadata", "value": odd}]);
            let one = format!("{pods}/a");
            let answer = send(&client, "PATCH", &one, "application/json-patch+json", &step).await;
            prop_assert!(answer < 500);
            prop_assert_eq!(send(&client, "GET", &one, "application/json", &Value::Null).await, 200);
            Ok(())
        })?;
    }
}
