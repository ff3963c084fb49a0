//! What can be done with a sandbox that one has.

use std::time::Duration;

use clock::Clock as _;
use contract::crd::{SandboxSet, SandboxTemplate};
use kube::api::PostParams;
use kube::{Api, Resource as _, ResourceExt as _};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::envd::Envd;
use crate::lab::{KEY, Lab, POOL, eventually, from};

/// A lab with one claimed sandbox, and its id.
async fn one(body: Value) -> (Lab, Envd, String) {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    let created = lab.create(body).await;
    let id = created["sandboxID"].as_str().expect("an id").to_owned();
    (lab, envd, id)
}

fn end(shown: &Value) -> jiff::Timestamp {
    shown["endAt"].as_str().expect("a text").parse().expect("a time")
}

/// Seconds until the sandbox ends.
fn left(lab: &Lab, shown: &Value) -> i64 {
    end(shown).duration_since(lab.clock.now()).as_secs()
}

#[tokio::test]
async fn get_shows_everything_that_the_sdks_need() {
    let (lab, envd, id) = one(json!({
        "timeout": 600,
        "metadata": {"user": "ada", "e2b.agents.kruise.io/return-sandbox-ip": "true"},
    }))
    .await;
    let (status, shown) = lab.get(&format!("/sandboxes/{id}")).await;
    assert_eq!(status, 200);
    for key in ["sandboxID", "templateID", "clientID", "envdVersion", "domain", "envdAccessToken"] {
        assert!(shown[key].is_string(), "{key} in {shown}");
    }
    assert_eq!(
        (shown["cpuCount"].as_u64(), shown["memoryMB"].as_u64(), shown["diskSizeMB"].as_u64()),
        (Some(2), Some(512), Some(0))
    );
    assert_eq!(shown["state"], "running");
    assert!((595..=600).contains(&left(&lab, &shown)), "{shown}");
    let expected = json!({
        "user": "ada", "app": "x", "e2b.agents.kruise.io/sandbox-ip": envd.ip,
        "e2b.agents.kruise.io/sandbox-resource": format!("default/{POOL}-0"),
    });
    let mut metadata = shown["metadata"].clone();
    metadata["app"] = "x".into();
    assert_eq!(metadata, expected);
}

#[rstest]
#[case(60, 60)]
#[case(1200, 1200)]
#[tokio::test]
async fn set_timeout_moves_the_end_both_ways(#[case] seconds: i64, #[case] expected: i64) {
    let (lab, _envd, id) = one(json!({"timeout": 600})).await;
    let (status, _) = lab.post(&format!("/sandboxes/{id}/timeout"), json!({"timeout": seconds})).await;
    assert_eq!(status, 204);
    let (_, shown) = lab.get(&format!("/sandboxes/{id}")).await;
    assert!((expected - 3..=expected).contains(&left(&lab, &shown)), "{shown}");
}

#[rstest]
#[case(json!({}), 600)]
#[case(json!({"timeout": 60}), 600)]
#[case(json!({"timeout": 1200, "memory": false}), 1200)]
#[tokio::test]
async fn connect_only_extends(#[case] body: Value, #[case] expected: i64) {
    let (lab, _envd, id) = one(json!({"timeout": 600})).await;
    for path in [format!("/v2/sandboxes/{id}/connect"), format!("/sandboxes/{id}/connect")] {
        let (status, shown) = lab.post(&path, body.clone()).await;
        assert_eq!(status, 200, "{shown}");
        assert_eq!(shown["sandboxID"], id.as_str());
        assert!(shown["envdAccessToken"].is_string());
        assert!((expected - 3..=expected).contains(&left(&lab, &shown)), "{shown}");
    }
    let (status, _) = lab.request(Method::POST, &format!("/sandboxes/{id}/connect"), None).await;
    assert_eq!(status, 200, "an empty body is an empty object");
}

#[tokio::test]
async fn a_sandbox_that_never_ends_stays_so() {
    let (lab, _envd, id) = one(json!({"metadata": {"e2b.agents.kruise.io/never-timeout": "true"}})).await;
    let get = || async { lab.get(&format!("/sandboxes/{id}")).await.1["endAt"].clone() };
    assert_eq!(get().await, "0001-01-01T00:00:00Z");
    assert_eq!(lab.post(&format!("/sandboxes/{id}/timeout"), json!({"timeout": 60})).await.0, 204);
    assert_eq!(get().await, "0001-01-01T00:00:00Z");
    assert_eq!(lab.post(&format!("/sandboxes/{id}/connect"), json!({"timeout": 60})).await.0, 200);
    assert_eq!(get().await, "0001-01-01T00:00:00Z");
}

#[tokio::test]
async fn automatic_pause_is_the_shown_end() {
    let (lab, _envd, id) = one(json!({
        "timeout": 600, "autoPause": true,
        "metadata": {"e2b.agents.kruise.io/reserve-paused-sandbox-duration": "1h"},
    }))
    .await;
    let (_, shown) = lab.get(&format!("/sandboxes/{id}")).await;
    assert!((597..=600).contains(&left(&lab, &shown)));
    let sandbox = lab.sandboxes().get(&format!("{POOL}-0")).await.expect("there");
    let (pause, shutdown) =
        (sandbox.spec.pause_time.expect("set").0, sandbox.spec.shutdown_time.expect("set").0);
    assert_eq!(shutdown.duration_since(pause).as_secs(), 3600);
}

#[tokio::test]
async fn a_killed_sandbox_is_gone_at_once_for_everybody() {
    let (lab, _envd, id) = one(json!({})).await;
    let path = format!("/sandboxes/{id}");
    assert_eq!(lab.request(Method::DELETE, &path, None).await, (204, Value::Null));
    assert_eq!(lab.get(&path).await.0, 404);
    assert_eq!(lab.get("/v2/sandboxes").await.1, json!([]));
    let health =
        lab.http.get(lab.url("/health")).header("e2b-sandbox-id", &id).send().await.expect("an answer");
    assert_eq!(health.status(), 502);
    assert_eq!(lab.request(Method::DELETE, &path, None).await.0, 404);
    assert!(lab.sandboxes().get_opt(&format!("{POOL}-0")).await.expect("an answer").is_none());
}

#[tokio::test]
async fn past_its_shutdown_time_a_sandbox_is_gone_for_users() {
    let (lab, _envd, id) = one(json!({"timeout": 60})).await;
    lab.clock.advance(Duration::from_secs(62));
    assert_eq!(lab.get(&format!("/sandboxes/{id}")).await.0, 404);
    assert_eq!(lab.get("/v2/sandboxes").await.1, json!([]));
    assert_eq!(lab.post(&format!("/sandboxes/{id}/connect"), json!({})).await.0, 404);
}

#[tokio::test]
async fn a_sandbox_that_is_not_ready_is_shown_by_id_and_not_listed() {
    let (lab, _envd, id) = one(json!({})).await;
    lab.make_unready(&format!("{POOL}-0")).await;
    eventually("the list hides it", || async { lab.get("/v2/sandboxes").await.1 == json!([]) }).await;
    let (status, shown) = lab.get(&format!("/sandboxes/{id}")).await;
    assert_eq!((status, shown["state"].as_str()), (200, Some("running")));
}

#[tokio::test]
async fn lists_filter_by_metadata_template_and_time_and_come_in_pages() {
    let lab = Lab::new().await;
    let envds = [Envd::start().await, Envd::start().await, Envd::start().await];
    lab.pool(POOL, &envds.iter().collect::<Vec<_>>()).await;
    for user in ["ada", "bob", "ada"] {
        lab.create(json!({"metadata": {"user": user, "label:kind": "demo"}})).await;
        lab.clock.advance(Duration::from_secs(1));
    }
    let count = |query: &'static str| {
        let lab = &lab;
        async move { lab.get(&format!("/v2/sandboxes?{query}")).await.1.as_array().expect("an array").len() }
    };
    assert_eq!(count("").await, 3);
    assert_eq!(count("metadata=user%3Dada").await, 2);
    assert_eq!(count("metadata=user%3Dada%26kind%3Ddemo").await, 2);
    assert_eq!(count("metadata=user%3Deve").await, 0);
    assert_eq!(count("template=other").await, 0);
    assert_eq!(count("startedAfter=2100-01-01T00%3A00%3A00Z").await, 0);
    let first =
        lab.http.get(lab.url("/v2/sandboxes?limit=2")).header("x-api-key", KEY).send().await.expect("a page");
    let token = first.headers()["x-next-token"].to_str().expect("text").to_owned();
    let first: Value = first.json().await.expect("JSON");
    let second =
        lab.http.get(lab.url(&format!("/v2/sandboxes?limit=2&nextToken={token}"))).header("x-api-key", KEY);
    let second = second.send().await.expect("a page");
    assert!(second.headers().get("x-next-token").is_none());
    let second: Value = second.json().await.expect("JSON");
    assert_eq!((first.as_array().map(Vec::len), second.as_array().map(Vec::len)), (Some(2), Some(1)));
    assert!(first[0]["startedAt"].as_str() < first[1]["startedAt"].as_str());
    let (_, newest) = lab.get("/v2/sandboxes?order=desc&limit=1").await;
    assert_eq!(newest[0]["sandboxID"], second[0]["sandboxID"]);
}

#[tokio::test]
async fn network_rules_become_a_policy_and_can_be_cleared() {
    let (lab, _envd, id) =
        one(json!({"network": {"allowOut": ["example.com"], "denyOut": ["0.0.0.0/0"]}})).await;
    let policies: kube::Api<contract::crd::TrafficPolicy> =
        kube::Api::namespaced(lab.client.clone(), "default");
    let name = format!("{POOL}-0");
    let rules = |policy: contract::crd::TrafficPolicy| {
        policy.spec.egress.and_then(|egress| egress.rules).expect("rules").len()
    };
    let policy = policies.get(&name).await.expect("there");
    assert_eq!(policy.owner_references()[0].kind, "Sandbox");
    assert_eq!(rules(policy), 2);
    let path = format!("/sandboxes/{id}");
    assert_eq!(
        lab.get(&path).await.1["network"],
        json!({"allowOut": ["example.com"], "denyOut": ["0.0.0.0/0"]})
    );
    let network = format!("{path}/network");
    let put = |body| lab.request(Method::PUT, &network, Some(body));
    assert_eq!(put(json!({"allowOut": ["*.example.com"]})).await.0, 400);
    assert_eq!(put(json!({"denyOut": ["10.0.0.0/8"]})).await.0, 204);
    assert_eq!(rules(policies.get(&name).await.expect("there")), 1);
    assert_eq!(put(json!({})).await.0, 204);
    assert!(policies.get_opt(&name).await.expect("an answer").is_none());
    assert!(lab.get(&path).await.1.get("network").is_none());
}

#[tokio::test]
async fn metrics_come_from_the_runtime() {
    let (lab, _envd, id) = one(json!({})).await;
    let (status, metrics) = lab.get(&format!("/sandboxes/{id}/metrics?start=1&end=2")).await;
    assert_eq!(status, 200);
    assert_eq!(metrics[0]["memTotal"], 1024);
    assert_eq!(metrics[0]["timestampUnix"], 1_795_479_178);
}

#[tokio::test]
async fn a_template_that_is_referred_to_says_what_its_sandboxes_may_use() {
    let lab = Lab::new().await;
    let resources = json!({"limits": {"cpu": "2", "memory": "512Mi"}});
    let template = json!({
        "metadata": {"name": "shared"},
        "spec": {"template": {"spec": {"containers": [{"name": "sandbox", "image": "demo", "resources": resources}]}}},
    });
    let templates: Api<SandboxTemplate> = Api::namespaced(lab.client.clone(), "default");
    templates.create(&PostParams::default(), &from(template)).await.expect("a template");
    let set =
        json!({"metadata": {"name": "pool"}, "spec": {"replicas": 1, "templateRef": {"name": "shared"}}});
    let sets: Api<SandboxSet> = Api::namespaced(lab.client.clone(), "default");
    let set = sets.create(&PostParams::default(), &from(set)).await.expect("a set");
    let envd = Envd::start().await;
    let sandbox = json!({
        "metadata": {
            "name": "pool-0",
            "labels": {"agents.kruise.io/sandbox-pool": "pool", "agents.kruise.io/sandbox-claimed": "false"},
            "ownerReferences": [set.controller_owner_ref(&()).expect("a reference")],
        },
        "spec": {"templateRef": {"name": "shared"}},
    });
    lab.sandboxes().create(&PostParams::default(), &from(sandbox)).await.expect("a sandbox");
    lab.make_ready("pool-0", &envd).await;
    eventually("the pool is known", || async { lab.available("pool").await == 1 }).await;
    let created = lab.create(json!({"templateID": "pool"})).await;
    let (_, template) = lab.get("/templates/pool").await;
    for shown in [&created, &template["builds"][0]] {
        assert_eq!((shown["cpuCount"].as_u64(), shown["memoryMB"].as_u64()), (Some(2), Some(512)), "{shown}");
    }
}
