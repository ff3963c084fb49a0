//! What the tests share: a server, and dynamic access to any kind.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::time::Duration;

use clock::SystemClock;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use kube_sim::{KubeSim, Options};
use serde_json::{Value, json};

/// Nothing in these tests takes longer, unless it is broken.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn server() -> KubeSim {
    KubeSim::new(Options { clock: SystemClock::shared(), journal: None })
}

pub(crate) fn client() -> Client {
    server().client("default")
}

pub(crate) fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).expect("an object")
}

pub(crate) fn api(
    client: &Client,
    group: &str,
    version: &str,
    kind: &str,
    plural: &str,
) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(group, version, kind);
    Api::default_namespaced_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
}

pub(crate) fn pod(name: &str) -> k8s_openapi::api::core::v1::Pod {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "busybox:1"}]},
    }))
    .expect("a pod")
}

/// The status that an API error carries.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> Box<kube::core::Status> {
    match result.expect_err("the server refuses this") {
        kube::Error::Api(status) => status,
        other => panic!("not an answer of the API: {other}"),
    }
}
