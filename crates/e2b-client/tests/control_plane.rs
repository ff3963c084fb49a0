//! The control plane against a peer of wiremock: paths, headers, bodies, refusals.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail hard")]

use std::time::Duration;

use e2b_client::{Client, ClientError, Code, CreateRequest, ListQuery, Settings};
use serde_json::{Value, json};
use wiremock::matchers::{body_json, header, method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

const KEY: &str = "key-1";

fn client(server: &MockServer) -> Client {
    Client::new(Settings::new(server.uri(), KEY)).expect("settings")
}

fn sandbox() -> Value {
    json!({"sandboxID": "default--a", "templateID": "t", "clientID": "", "envdVersion": "0.6.4", "state": "running",
           "envdAccessToken": "token", "metadata": {"user": "alice"}, "cpuCount": 1})
}

async fn answer(server: &MockServer, verb: &str, route: &str, body: Value, template: ResponseTemplate) {
    Mock::given(method(verb))
        .and(path(route))
        .and(header("X-API-KEY", KEY))
        .and(body_json(body))
        .respond_with(template)
        .expect(1)
        .mount(server)
        .await;
}

#[tokio::test]
async fn create_sends_what_the_sdks_send() {
    let server = MockServer::start().await;
    let body = json!({"templateID": "t", "timeout": 300, "metadata": {"user": "alice"}, "envVars": {}});
    let template = ResponseTemplate::new(201).insert_header("X-Request-ID", "r-1").set_body_json(sandbox());
    answer(&server, "POST", "/v2/sandboxes", body, template).await;
    let request = CreateRequest {
        template: "t".into(),
        timeout: Some(300),
        metadata: [("user".to_owned(), "alice".to_owned())].into(),
        ..CreateRequest::default()
    };
    let reply = client(&server).create(&request).await.expect("created");
    assert_eq!((reply.status, reply.request_id.as_deref()), (201, Some("r-1")));
    assert_eq!(reply.value.sandbox_id, "default--a");
    assert_eq!(reply.value.other["cpuCount"], 1);
    let shown = serde_json::to_string(&reply.value).expect("JSON");
    assert!(!shown.contains("token"), "the access token is not shown: {shown}");
}

#[tokio::test]
async fn a_create_that_answers_200_breaks_the_protocol_as_it_does_for_the_sdks() {
    let server = MockServer::start().await;
    let body = json!({"templateID": "", "metadata": {}, "envVars": {}});
    answer(&server, "POST", "/v2/sandboxes", body, ResponseTemplate::new(200).set_body_json(sandbox())).await;
    let error = client(&server).create(&CreateRequest::default()).await.expect_err("not 201");
    assert_eq!(
        error.to_string(),
        "create sandbox was answered against the protocol: success must be 201, it is 200"
    );
}

#[tokio::test]
async fn the_other_calls_use_the_paths_of_the_contract() {
    let server = MockServer::start().await;
    let client = client(&server);
    let found = || ResponseTemplate::new(200).set_body_json(sandbox());
    answer(&server, "POST", "/v2/sandboxes/default--a/connect", json!({}), found()).await;
    assert_eq!(client.connect("default--a", None).await.expect("connected").status, 200);
    let resumed = ResponseTemplate::new(201).set_body_json(sandbox());
    answer(&server, "POST", "/v2/sandboxes/b/connect", json!({"timeout": 77}), resumed).await;
    assert_eq!(client.connect("b", Some(77)).await.expect("resumed").status, 201);
    let done = || ResponseTemplate::new(204);
    answer(&server, "POST", "/sandboxes/default--a/timeout", json!({"timeout": 60}), done()).await;
    assert_eq!(client.set_timeout("default--a", 60).await.expect("set").status, 204);
    answer(&server, "POST", "/sandboxes/default--a/resume", json!({"timeout": 60}), done()).await;
    assert_eq!(client.resume("default--a", 60).await.expect("resumed").status, 204);
    answer(&server, "POST", "/sandboxes/default--a/pause", json!({}), done()).await;
    assert_eq!(client.pause("default--a").await.expect("paused").status, 204);
    Mock::given(method("GET")).and(path("/sandboxes/default--a")).respond_with(found()).mount(&server).await;
    assert_eq!(client.get("default--a").await.expect("found").value.state.as_deref(), Some("running"));
    Mock::given(method("DELETE"))
        .and(path("/sandboxes/default--a"))
        .respond_with(done())
        .mount(&server)
        .await;
    assert_eq!(client.kill("default--a").await.expect("killed").status, 204);
}

#[tokio::test]
async fn a_path_prefix_of_the_api_is_kept() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/kruise/api/sandboxes/a"))
        .respond_with(ResponseTemplate::new(200).set_body_json(sandbox()))
        .mount(&server)
        .await;
    for url in [format!("{}/kruise/api", server.uri()), format!("{}/kruise/api/", server.uri())] {
        let client = Client::new(Settings::new(url, KEY)).expect("settings");
        client.get("a").await.expect("found");
    }
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let server = MockServer::start().await;
    let page = |id: &str| {
        let mut info = sandbox();
        info["sandboxID"] = id.into();
        ResponseTemplate::new(200).set_body_json(json!([info]))
    };
    Mock::given(path("/v2/sandboxes"))
        .and(query_param("state", "running,paused"))
        .and(query_param_is_missing("nextToken"))
        .respond_with(page("one").insert_header("x-next-token", "t/2="))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(path("/v2/sandboxes"))
        .and(query_param("nextToken", "t/2="))
        .respond_with(page("two"))
        .expect(1)
        .mount(&server)
        .await;
    let query = ListQuery { states: vec!["running".into(), "paused".into()], ..ListQuery::default() };
    let all = client(&server).list(&query).await.expect("listed");
    assert_eq!(all.iter().map(|info| info.sandbox_id.as_str()).collect::<Vec<_>>(), ["one", "two"]);
}

#[rstest::rstest]
#[case::envelope(
    400,
    r#"{"code":400,"message":"bad","request_id":"r"}"#,
    Some(Code::Number(400)),
    "bad",
    true
)]
#[case::code_is_not_the_status(500, r#"{"code":0,"message":"bad"}"#, Some(Code::Number(0)), "bad", true)]
#[case::text(405, "method not allowed", None, "method not allowed", false)]
#[case::no_code(500, r#"{"message":"bad"}"#, None, "bad", false)]
#[case::html(504, "<html>", None, "<html>", false)]
#[tokio::test]
async fn a_refusal_is_kept_as_it_was_sent(
    #[case] status: u16,
    #[case] body: &str,
    #[case] code: Option<Code>,
    #[case] message: &str,
    #[case] is_envelope: bool,
) {
    let server = MockServer::start().await;
    let template = ResponseTemplate::new(status).insert_header("Should-Retry", "false").set_body_string(body);
    Mock::given(method("DELETE")).respond_with(template).expect(1).mount(&server).await;
    let error = client(&server).kill("a").await.expect_err("refused");
    let refusal = error.refusal().expect("a refusal");
    assert_eq!((refusal.status, &refusal.code, refusal.is_envelope), (status, &code, is_envelope));
    assert_eq!((refusal.message.as_str(), refusal.should_retry.as_deref()), (message, Some("false")));
}

#[tokio::test]
async fn a_missing_answer_names_the_call_and_the_limit() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(30)))
        .mount(&server)
        .await;
    let settings = Settings { request_limit: Duration::from_millis(50), ..Settings::new(server.uri(), KEY) };
    let error = Client::new(settings).expect("settings").get("a").await.expect_err("too late");
    assert_eq!(
        error.to_string(),
        "get sandbox a got no answer within 50ms; last state: waiting for the answer"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_transport_error_without_the_key() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let error = Client::new(Settings::new(url, KEY)).expect("settings").get("a").await.expect_err("nobody");
    assert!(matches!(error, ClientError::Transport { .. }));
    assert!(!format!("{error:?}").contains(KEY));
}

#[tokio::test]
async fn snapshots_are_taken_listed_page_by_page_and_deleted() {
    let server = MockServer::start().await;
    let client = client(&server);
    let taken = json!({"snapshotID": "cp-1", "names": null});
    let answered = ResponseTemplate::new(201).set_body_json(&taken);
    answer(&server, "POST", "/sandboxes/default--a/snapshots", json!({}), answered).await;
    assert_eq!(client.snapshot("default--a", None).await.expect("taken").value.snapshot_id, "cp-1");
    let named = ResponseTemplate::new(201).set_body_json(json!({"snapshotID": "cp-2", "names": ["x"]}));
    answer(&server, "POST", "/sandboxes/default--a/snapshots", json!({"name": "x"}), named).await;
    let second = client.snapshot("default--a", Some("x")).await.expect("taken").value;
    assert_eq!(second.names, Some(vec!["x".to_owned()]));
    Mock::given(method("GET"))
        .and(path("/snapshots"))
        .and(query_param("sandboxID", "default--a"))
        .and(query_param_is_missing("nextToken"))
        .respond_with(
            ResponseTemplate::new(200).insert_header("x-next-token", "t").set_body_json(json!([taken])),
        )
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/snapshots"))
        .and(query_param("nextToken", "t"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!([{"snapshotID": "cp-2", "names": []}])))
        .mount(&server)
        .await;
    let listed = client.snapshots(Some("default--a"), Some(1)).await.expect("listed");
    assert_eq!(listed.iter().map(|found| found.snapshot_id.as_str()).collect::<Vec<_>>(), ["cp-1", "cp-2"]);
    Mock::given(method("DELETE"))
        .and(path("/templates/cp-1"))
        .respond_with(ResponseTemplate::new(204))
        .mount(&server)
        .await;
    assert_eq!(client.delete_snapshot("cp-1").await.expect("deleted").status, 204);
}
