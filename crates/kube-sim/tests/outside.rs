//! The server from outside: TLS, token, limits.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod common;

use common::{LIMIT, pod, refusal};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use kube_sim::KubeSim;
use serde_json::json;
use std::pin::pin;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

async fn served() -> (KubeSim, Config, JoinHandle<()>) {
    let server = common::server();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let kubeconfig =
        Kubeconfig::from_yaml(&server.kubeconfig(&url).expect("a certificate")).expect("readable");
    let config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("complete");
    let serving = server.clone();
    let serving = tokio::spawn(async move { serving.serve_https(listener).await.expect("serves") });
    (server, config, serving)
}

#[tokio::test]
async fn a_client_with_the_kubeconfig_is_let_in_and_one_without_the_token_is_not() {
    let (_server, config, _serving) = served().await;
    let pods: Api<Pod> = Api::default_namespaced(Client::try_from(config.clone()).expect("a client"));
    pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    let mut stranger = config;
    stranger.auth_info = kube::config::AuthInfo::default();
    let stranger = Client::try_from(stranger).expect("a client");
    let pods: Api<Pod> = Api::default_namespaced(stranger.clone());
    assert_eq!(refusal(pods.get("a").await).code, 401);
    let ready = http::Request::get("/readyz").body(Vec::new()).expect("a request");
    assert_eq!(stranger.request_text(ready).await.expect("open to all"), "ok");
}

#[tokio::test]
async fn a_watch_from_outside_sees_a_write_from_inside() {
    let (server, config, _serving) = served().await;
    let outside: Api<Pod> = Api::default_namespaced(Client::try_from(config).expect("a client"));
    let mut watch = pin!(outside.watch(&WatchParams::default(), "0").await.expect("watching"));
    let inside: Api<Pod> = Api::default_namespaced(server.client("default"));
    inside.create(&PostParams::default(), &pod("a")).await.expect("created");
    let event =
        timeout(LIMIT, watch.try_next()).await.expect("in time").expect("no error").expect("an event");
    assert!(matches!(event, WatchEvent::Added(_)), "{event:?}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let (_server, config, _serving) = served().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(Client::try_from(config).expect("a client"));
    let large =
        serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"a": "x".repeat(4 << 20)}}));
    let status = refusal(maps.create(&PostParams::default(), &large.expect("a map")).await);
    assert_eq!(status.reason, "RequestEntityTooLarge");
}
