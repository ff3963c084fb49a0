//! The server from outside: TLS, token, limits.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod common;

use clock::SimulatedClock;
use common::{LIMIT, pod, refusal};
use futures::TryStreamExt as _;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use kube_sim::{KubeSim, Options};
use serde_json::json;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

async fn served() -> (KubeSim, Config, JoinHandle<()>) {
    serve(common::server()).await
}

async fn serve(server: KubeSim) -> (KubeSim, Config, JoinHandle<()>) {
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

/// A token of the service account `default`.
async fn token(server: &KubeSim, spec: serde_json::Value) -> Result<String, kube::Error> {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(server.client("default"));
    let request: TokenRequest =
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a request");
    let answer = accounts.create_token_request("default", &PostParams::default(), &request).await?;
    Ok(answer.status.expect("a status").token)
}

fn holder(config: &Config, token: &str) -> Client {
    let mut config = config.clone();
    config.auth_info = kube::config::AuthInfo { token: Some(token.into()), ..Default::default() };
    Client::try_from(config).expect("a client")
}

#[tokio::test]
async fn a_service_account_token_opens_until_it_expires_or_what_it_is_bound_to_is_gone() {
    let clock = SimulatedClock::default();
    let journal = journal::Journal::new(Arc::new(clock.clone()));
    let options = Options { clock: Arc::new(clock.clone()), journal: Some(journal.clone()) };
    let (server, config, _serving) = serve(KubeSim::new(options)).await;
    let pods: Api<Pod> = Api::default_namespaced(server.client("default"));
    pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "a"});
    let long =
        token(&server, json!({"audiences": [], "expirationSeconds": 7200, "boundObjectRef": bound})).await;
    let long = long.expect("a token");
    let short = token(&server, json!({"audiences": [], "expirationSeconds": 600})).await.expect("a token");
    let foreign = token(&server, json!({"audiences": ["vault"]})).await.expect("a token");
    let reviews: Api<SelfSubjectReview> = Api::all(holder(&config, &short));
    let review =
        reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.expect("answered");
    let user = review.status.and_then(|status| status.user_info).expect("a user");
    assert_eq!(user.username.as_deref(), Some("system:serviceaccount:default:default"));
    let code = async |token: &str| {
        let pods: Api<Pod> = Api::default_namespaced(holder(&config, token));
        match pods.list(&kube::api::ListParams::default()).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("not an answer of the API: {error}"),
        }
    };
    assert_eq!([code(&long).await, code(&short).await, code(&foreign).await], [200, 200, 401]);
    assert_eq!(code(&format!("{}x", &short[..short.len() - 4])).await, 401, "a broken signature");
    clock.advance(Duration::from_secs(600));
    assert_eq!([code(&long).await, code(&short).await], [200, 401], "one expired");
    pods.delete("a", &DeleteParams::default().grace_period(0)).await.expect("deleted");
    assert_eq!(code(&long).await, 401, "its pod is gone");
    journal.record("test", "OUTPUT", "Pod/default/a", json!({"stdout": format!("{long} {short}")}));
    let entries = format!("{:?}", journal.entries());
    assert!(!entries.contains(&short) && !entries.contains(&long), "a token is in the journal");
}

#[tokio::test]
async fn a_token_request_that_asks_for_too_little_or_the_wrong_pod_is_refused() {
    let server = common::server();
    let refused = refusal(token(&server, json!({"audiences": [], "expirationSeconds": 599})).await);
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    assert!(refused.message.contains("less than 10 minutes"), "{}", refused.message);
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "none"});
    let refused = refusal(token(&server, json!({"audiences": [], "boundObjectRef": bound})).await);
    assert_eq!(refused.code, 404);
}
