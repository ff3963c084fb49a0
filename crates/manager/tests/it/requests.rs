//! What every request has in common, and everything that is refused.

use http::StatusCode;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::envd::Envd;
use crate::lab::{KEY, Lab, POOL, answer, ensure_namespace};

#[rstest]
#[case(Method::GET, "/nowhere", 404)]
#[case(Method::GET, "/kruise/api/nowhere", 404)]
#[case(Method::PUT, "/v2/sandboxes", 405)]
#[case(Method::DELETE, "/kruise/api/sandboxes", 405)]
#[case(Method::GET, "/sandboxes/default--nobody", 404)]
#[case(Method::GET, "/sandboxes/not-an-id", 404)]
#[case(Method::GET, "/sandboxes/..%2f..", 404)]
#[case(Method::DELETE, "/sandboxes/default--nobody", 404)]
#[case(Method::POST, "/sandboxes/default--nobody/connect", 404)]
#[case(Method::POST, "/sandboxes/default--nobody/timeout", 404)]
#[case(Method::POST, "/sandboxes/default--nobody/pause", 404)]
#[case(Method::POST, "/sandboxes/default--nobody/resume", 404)]
#[case(Method::PUT, "/sandboxes/default--nobody/network", 404)]
#[case(Method::GET, "/sandboxes/default--nobody/metrics", 404)]
#[case(Method::POST, "/sandboxes/default--nobody/snapshots", 404)]
#[case(Method::GET, "/sandboxes/default--nobody/logs", 404)]
#[case(Method::POST, "/sandboxes/default--nobody/fork", 404)]
#[case(Method::GET, "/snapshots?limit=101", 400)]
#[case(Method::GET, "/volumes", 501)]
#[case(Method::POST, "/volumes/some/path", 501)]
#[case(Method::POST, "/templates", 501)]
#[case(Method::GET, "/templates/nope", 404)]
#[case(Method::DELETE, "/templates/nope", 404)]
#[case(Method::GET, "/v2/sandboxes?limit=0", 400)]
#[case(Method::GET, "/v2/sandboxes?state=dead", 400)]
#[case(Method::GET, "/kruise/api/health", 404)]
#[case(Method::DELETE, "/api-keys/550e8400-e29b-41d4-a716-446655440000", 403)]
#[case(Method::DELETE, "/api-keys/unknown", 404)]
#[tokio::test]
async fn refusals_are_json_with_equal_codes(
    #[case] method: Method,
    #[case] path: &str,
    #[case] expected: u16,
) {
    let lab = Lab::new().await;
    let (status, error) = lab.request(method, path, None).await;
    assert_eq!(status, expected, "{error}");
    assert_eq!(error["code"], expected);
    assert!(error["message"].is_string() && error["request_id"].is_string());
}

#[rstest]
#[case::not_json("{\"templateID\":", 400)]
#[case::empty("", 400)]
#[case::no_template("{}", 400)]
#[case::metadata_number(r#"{"templateID":"code-interpreter","metadata":{"a":1}}"#, 400)]
#[case::unknown_template(r#"{"templateID":"nope"}"#, 400)]
#[case::timeout_short(r#"{"templateID":"code-interpreter","timeout":29}"#, 400)]
#[case::timeout_long(r#"{"templateID":"code-interpreter","timeout":2592001}"#, 400)]
#[case::timeout_negative(r#"{"templateID":"code-interpreter","timeout":-1}"#, 400)]
#[case::timeout_fraction(r#"{"templateID":"code-interpreter","timeout":30.5}"#, 400)]
#[case::reserved_key(r#"{"templateID":"code-interpreter","metadata":{"agents.kruise.io/owner":"x"}}"#, 400)]
#[case::unqualified_key(r#"{"templateID":"code-interpreter","metadata":{"a b":"x"}}"#, 400)]
#[case::clone_name(
    r#"{"templateID":"code-interpreter","metadata":{"e2b.agents.kruise.io/sandbox-name":"x"}}"#,
    400
)]
#[case::claim_timeout(
    r#"{"templateID":"code-interpreter","metadata":{"e2b.agents.kruise.io/claim-timeout-seconds":"x"}}"#,
    400
)]
#[case::network(r#"{"templateID":"code-interpreter","network":{"denyOut":["example.com"]}}"#, 400)]
#[case::volume_without_name(
    r#"{"templateID":"code-interpreter","volumeMounts":[{"name":"","path":"/x"}]}"#,
    400
)]
#[case::image(
    r#"{"templateID":"code-interpreter","metadata":{"e2b.agents.kruise.io/image":"two words"}}"#,
    400
)]
#[tokio::test]
async fn creates_that_are_refused(#[case] body: &str, #[case] expected: u16) {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    for path in ["/v2/sandboxes", "/sandboxes/", "/kruise/api/v2/sandboxes"] {
        let request = lab.http.post(lab.url(path)).header("x-api-key", KEY).body(body.to_owned());
        let (status, error) = answer(request.send().await.expect("an answer")).await;
        assert_eq!((status, error["code"].as_u64()), (expected, Some(u64::from(expected))), "{error}");
    }
    assert_eq!(lab.available(POOL).await, 1, "the pool is untouched");
}

#[tokio::test]
async fn a_huge_body_is_refused_in_json() {
    let lab = Lab::new().await;
    let body = format!(r#"{{"templateID":"{}"}}"#, "x".repeat(2 << 20));
    let request = lab.http.post(lab.url("/sandboxes")).header("x-api-key", KEY).body(body);
    let (status, error) = answer(request.send().await.expect("an answer")).await;
    assert_eq!((status, error["code"].as_u64()), (413, Some(413)));
}

#[rstest]
#[case(None)]
#[case(Some(""))]
#[case(Some("wrong"))]
#[tokio::test]
async fn without_a_known_key_nothing_is_told(#[case] key: Option<&str>) {
    let lab = Lab::new().await;
    for path in ["/v2/sandboxes", "/sandboxes/default--x", "/templates", "/teams", "/debug"] {
        let mut request = lab.http.get(lab.url(path));
        if let Some(key) = key {
            request = request.header("X-API-Key", key);
        }
        let (status, error) = answer(request.send().await.expect("an answer")).await;
        assert_eq!((status, error["message"].as_str()), (401, Some("Invalid API Key")), "{path}");
    }
    let health = lab.http.get(lab.url("/health")).send().await.expect("an answer");
    assert_eq!((health.status(), health.text().await.expect("text").as_str()), (StatusCode::OK, "OK"));
    let metrics = lab.http.get(lab.url("/metrics")).send().await.expect("an answer");
    let metrics = metrics.text().await.expect("text");
    assert!(metrics.contains("sandbox_manager_requests_total{status=\"401\"} 5\n"), "{metrics}");
    assert!(metrics.contains("sandbox_manager_sandboxes{state=\"running\"} 0.0\n"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

#[tokio::test]
async fn a_key_works_in_its_wrapped_form() {
    let lab = Lab::new().await;
    let wrapped = manager::wrapped::wrap(KEY);
    let request = lab.http.get(lab.url("/v2/sandboxes")).header("x-api-key", wrapped.as_str());
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    assert_eq!(lab.get("/api-keys/compatible").await.1, json!({"key": wrapped}));
}

#[tokio::test]
async fn the_request_s_id_comes_back_on_success_and_on_failure() {
    let lab = Lab::new().await;
    for path in ["/v2/sandboxes", "/nowhere"] {
        let request =
            lab.http.get(lab.url(path)).header("x-api-key", KEY).header("x-request-id", "my own id");
        let response = request.send().await.expect("an answer");
        assert_eq!(response.headers()["x-request-id"], "my own id");
    }
    let made = lab.http.get(lab.url("/health")).send().await.expect("an answer");
    let made = made.headers()["x-request-id"].to_str().expect("text").to_owned();
    assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
}

#[tokio::test]
async fn with_authentication_off_everybody_is_one_user_and_there_are_no_keys() {
    let lab = Lab::with(|options| options.authentication = false).await;
    let list = lab.http.get(lab.url("/v2/sandboxes")).send().await.expect("an answer");
    assert_eq!(list.status(), 200);
    let keys = lab.http.get(lab.url("/api-keys")).send().await.expect("an answer");
    assert_eq!(keys.status(), 404);
}

#[tokio::test]
async fn an_empty_admin_key_is_refused_at_start() {
    let sim =
        kube_sim::KubeSim::new(kube_sim::Options { clock: clock::SystemClock::shared(), journal: None });
    let mut options = manager::ManagerOptions::new(sim.client("default"), clock::SystemClock::shared());
    options.admin_key = String::new();
    assert!(manager::Manager::new(options).is_err());
}

/// A new key of `team`, in wrapped form, and its id.
async fn key(lab: &Lab, body: Value) -> (String, String) {
    let (status, made) = lab.post("/api-keys", body).await;
    assert_eq!(status, 201, "{made}");
    (made["key"].as_str().expect("a key").to_owned(), made["id"].as_str().expect("an id").to_owned())
}

async fn as_key(lab: &Lab, key: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = lab.http.request(method, lab.url(path)).header("x-api-key", key);
    if let Some(body) = body {
        request = request.json(&body);
    }
    answer(request.send().await.expect("an answer")).await
}

#[tokio::test]
async fn keys_of_one_team_do_not_see_each_other_s_sandboxes() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    let (other, _) = key(&lab, json!({"name": "other"})).await;
    let id = lab.create(json!({})).await["sandboxID"].as_str().expect("an id").to_owned();
    let path = format!("/sandboxes/{id}");
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/connect")),
        (Method::POST, format!("{path}/timeout")),
        (Method::POST, format!("{path}/pause")),
        (Method::PUT, format!("{path}/network")),
        (Method::GET, format!("{path}/metrics")),
    ] {
        // an unreadable body must not tell a foreign sandbox from a missing one
        let (status, _) = as_key(&lab, &other, method.clone(), &path, Some(json!("not an object"))).await;
        assert_eq!(status, 404, "{method} {path}");
    }
    assert_eq!(as_key(&lab, &other, Method::GET, "/v2/sandboxes", None).await.1, json!([]));
    assert_eq!(lab.get(&path).await.0, 200);
}

#[tokio::test]
async fn a_team_sees_its_namespace_only_and_may_not_reach_further() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    ensure_namespace(&lab.client, "team-a").await;
    let (member, member_id) = key(&lab, json!({"name": "ci", "teamName": "team-a"})).await;
    let call = |method, path, body| as_key(&lab, &member, method, path, body);
    assert_eq!(call(Method::POST, "/sandboxes", Some(json!({"templateID": POOL}))).await.0, 400);
    assert_eq!(call(Method::GET, "/templates", None).await.1, json!([]));
    assert_eq!(
        call(Method::GET, "/teams", None).await.1,
        json!([{"teamID": "team-a", "name": "team-a", "apiKey": "", "isDefault": true}])
    );
    assert_eq!(call(Method::POST, "/api-keys", Some(json!({"name": "x", "teamName": "admin"}))).await.0, 403);
    assert_eq!(
        call(Method::POST, "/api-keys", Some(json!({"name": "x", "quota": {"limits": []}}))).await.0,
        403
    );
    assert_eq!(call(Method::POST, "/api-keys", Some(json!({"name": "x", "nonsense": 1}))).await.0, 400);
    let (_, listed) = call(Method::GET, "/api-keys", None).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert!(listed[0].get("key").is_none());
    assert_eq!(lab.post("/api-keys", json!({"name": "x", "teamName": "no-such-namespace"})).await.0, 400);
    assert_eq!(lab.request(Method::DELETE, &format!("/api-keys/{member_id}"), None).await.0, 204);
    assert_eq!(call(Method::GET, "/templates", None).await.0, 401);
}

#[tokio::test]
async fn a_quota_is_enforced_at_create() {
    let lab = Lab::new().await;
    let envds = [Envd::start().await, Envd::start().await];
    lab.pool(POOL, &envds.iter().collect::<Vec<_>>()).await;
    let quota = json!({"limits": [{"dimension": "limits.cpu", "scope": "running", "limit": 3000}]});
    let (limited, _) = key(&lab, json!({"name": "small", "quota": quota})).await;
    let create = || as_key(&lab, &limited, Method::POST, "/sandboxes", Some(json!({"templateID": POOL})));
    assert_eq!(create().await.0, 201);
    let (status, error) = create().await;
    assert_eq!(status, 403, "{error}");
    assert!(error["message"].as_str().expect("text").contains("limits.cpu"));
    assert_eq!(lab.available(POOL).await, 1);
}

#[tokio::test]
async fn templates_are_the_pools() {
    let lab = Lab::new().await;
    lab.set(POOL, &["agent-runtime"]).await;
    let (status, templates) = lab.get("/templates").await;
    assert_eq!(status, 200);
    assert_eq!(
        (templates[0]["templateID"].as_str(), templates[0]["cpuCount"].as_u64()),
        (Some(POOL), Some(2))
    );
    let (_, template) = lab.get(&format!("/templates/{POOL}")).await;
    assert_eq!(template["builds"][0]["status"], "ready");
    assert_eq!(lab.request(Method::DELETE, &format!("/templates/{POOL}"), None).await.0, 403);
}

#[tokio::test]
async fn the_journal_has_a_line_for_every_request() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    let created = lab.create(json!({})).await;
    let id = created["sandboxID"].as_str().expect("an id");
    lab.get(&format!("/kruise/api/sandboxes/{id}")).await;
    lab.post("/sandboxes", json!({"templateID": "nope"})).await;
    let entries = lab.journal.entries();
    let line = |kind: &str, subject: &str| {
        let found = entries.iter().find(|entry| entry.kind == kind && entry.subject == subject);
        found.unwrap_or_else(|| panic!("{kind} {subject}")).body.clone()
    };
    assert_eq!(line("POST /v2/sandboxes", id)["status"], 201);
    let got = line("GET /sandboxes/{id}", id);
    assert!(got["status"] == 200 && got["milliseconds"].is_number());
    let refused = line("POST /sandboxes", "/sandboxes");
    assert_eq!(
        (refused["status"].as_u64(), refused["code"].as_str()),
        (Some(400), Some("template-not-found"))
    );
    let token = created["envdAccessToken"].as_str().expect("a token");
    assert!(entries.iter().all(|entry| !serde_json::to_string(&**entry).expect("JSON").contains(token)));
}
