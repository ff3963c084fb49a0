//! kube-rs' runtime on top: watchers, reflectors, custom kinds and the journal.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod common;

use std::pin::pin;
use std::sync::Arc;

use clock::SystemClock;
use common::{LIMIT, api, client, object, pod, refusal};
use futures::{StreamExt as _, TryStreamExt as _};
use journal::Journal;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use kube_sim::{KubeSim, Options};
use rstest::rstest;
use serde_json::json;
use tokio::time::timeout;

#[rstest]
#[case::lists(watcher::Config::default())]
#[case::pages(watcher::Config::default().page_size(1))]
#[case::streams(watcher::Config::default().streaming_lists())]
#[tokio::test]
async fn a_watcher_sees_what_is_there_and_what_comes(#[case] config: watcher::Config) {
    let pods: Api<Pod> = Api::default_namespaced(client());
    pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    pods.create(&PostParams::default(), &pod("b")).await.expect("created");
    let mut seen = pin!(watcher(pods.clone(), config).applied_objects());
    let mut next =
        async || timeout(LIMIT, seen.try_next()).await.expect("in time").expect("no error").expect("goes on");
    assert_eq!(next().await.name_any(), "a");
    assert_eq!(next().await.name_any(), "b");
    pods.create(&PostParams::default(), &pod("c")).await.expect("created");
    assert_eq!(next().await.name_any(), "c");
}

#[tokio::test]
async fn a_watcher_survives_a_compaction_and_a_restart_of_its_watch() {
    let server = common::server();
    let pods: Api<Pod> = Api::default_namespaced(server.client("default"));
    pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    let mut seen = pin!(watcher(pods.clone(), watcher::Config::default()).applied_objects());
    let first = timeout(LIMIT, seen.next()).await.expect("in time").expect("goes on").expect("no error");
    assert_eq!(first.name_any(), "a");
    pods.create(&PostParams::default(), &pod("b")).await.expect("created");
    server.compact();
    server.drop_watches();
    let found = async {
        loop {
            // Errors are what a watcher reports before it lists anew.
            if let Some(Ok(pod)) = seen.next().await
                && pod.name_any() == "b"
            {
                return;
            }
        }
    };
    timeout(LIMIT, found).await.expect("b is seen in time");
}

#[tokio::test]
async fn a_metadata_watcher_gets_metadata_only() {
    let client = client();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    let metadata: Api<PartialObjectMeta<Pod>> = Api::default_namespaced(client);
    let mut seen = pin!(watcher(metadata, watcher::Config::default()).applied_objects());
    let first = timeout(LIMIT, seen.try_next()).await.expect("in time").expect("no error").expect("goes on");
    assert_eq!(first.name_any(), "a");
}

async fn define(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = serde_json::from_value(json!({
        "metadata": {"name": "things.demo.dev"},
        "spec": {
            "group": "demo.dev", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer", "default": 2},
                        "wait": {"type": "string", "default": "1m", "x-kubernetes-validations": [
                            {"rule": "duration(self) >= duration('1s')", "message": "must be at least 1s"}]},
                        "when": {"type": "string", "format": "date-time"},
                    }},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }}},
            }],
        },
    }))
    .expect("a definition");
    let stored = definitions.create(&PostParams::default(), &definition).await.expect("created");
    let conditions = stored.status.and_then(|status| status.conditions).expect("conditions");
    assert!(
        conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
    );
}

#[tokio::test]
async fn a_custom_object_is_defaulted_pruned_and_checked() {
    let client = client();
    define(&client).await;
    let things = api(&client, "demo.dev", "v1", "Thing", "things");
    let thing = |spec: serde_json::Value| {
        object(json!({"apiVersion": "demo.dev/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec,
            "status": {"phase": "Mine"}}))
    };
    for (spec, said) in [
        (json!({"size": "big"}), "spec.size in body must be of type integer"),
        (json!({"wait": "5ms"}), "must be at least 1s"),
        (json!({"when": "later"}), "must be of type date-time"),
    ] {
        let status = refusal(things.create(&PostParams::default(), &thing(spec)).await);
        assert_eq!(status.code, 422);
        assert!(status.message.contains(said), "{}", status.message);
        assert_eq!(status.details.expect("details").causes.len(), 1);
    }
    let stored = things
        .create(&PostParams::default(), &thing(json!({"odd": 1, "size": null})))
        .await
        .expect("created");
    assert_eq!(stored.data["spec"], json!({"size": 2, "wait": "1m"}));
    assert!(stored.data.get("status").is_none(), "the status has its own subresource");
    let status = Patch::Merge(json!({"status": {"phase": "Running"}}));
    let running = things.patch_status("t", &PatchParams::default(), &status).await.expect("patched");
    assert_eq!(running.metadata.generation, Some(1));
    let spec = Patch::Merge(json!({"spec": {"size": 3}}));
    let grown = things.patch("t", &PatchParams::default(), &spec).await.expect("patched");
    assert_eq!(grown.metadata.generation, Some(2));
    let same = things.patch("t", &PatchParams::default(), &spec).await.expect("patched");
    assert_eq!(same.resource_version(), grown.resource_version(), "a write that changes nothing is none");
}

#[tokio::test]
async fn every_committed_write_is_in_the_journal_without_secrets() {
    let journal = Journal::new(SystemClock::shared());
    let server = KubeSim::new(Options { clock: SystemClock::shared(), journal: Some(journal.clone()) });
    let client = server.client("default");
    let secrets = api(&client, "", "v1", "Secret", "secrets");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"key": "hunter22"}});
    secrets.create(&PostParams::default(), &object(secret)).await.expect("created");
    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    secrets.patch("s", &PatchParams::default(), &label).await.expect("patched");
    secrets.delete("s", &DeleteParams::default()).await.expect("deleted");
    let entries: Vec<Arc<journal::Entry>> =
        journal.entries().into_iter().filter(|entry| entry.subject == "Secret/default/s").collect();
    let kinds: Vec<&str> = entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["ADDED", "MODIFIED", "DELETED"]);
    for entry in journal.entries() {
        let line = serde_json::to_string(&*entry).expect("serializes");
        assert!(!line.contains("hunter22") && !line.contains("aHVudGVyMjI"), "{line}");
        assert!(!line.contains("managedFields"), "{line}");
    }
    assert!(!format!("{server:?}").contains(server.token()));
}
