//! Health, initialisation, tokens, environment, metrics, CORS and unknown routes.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::rpc::{Output, frame};
use crate::support::{Sandbox, body, soon};

async fn init(sandbox: &Sandbox, message: Value) -> u16 {
    let answer = sandbox.anonymous(Method::POST, "/init").json(&message).send().await.expect("sent");
    answer.status().as_u16()
}

async fn environment(sandbox: &Sandbox) -> Value {
    body(sandbox.request(Method::GET, "/envs").send().await.expect("sent")).await
}

#[tokio::test]
async fn health_needs_no_token_and_has_no_body() {
    let sandbox = Sandbox::start_with_token("tok-1").await;
    let answer = sandbox.anonymous(Method::GET, "/health").send().await.expect("sent");
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.bytes().await.expect("read").len(), 0);
}

#[tokio::test]
async fn initialising_again_takes_the_same_token() {
    let sandbox = Sandbox::start().await;
    assert_eq!(init(&sandbox, json!({})).await, 204, "open and stays open");
    assert_eq!(environment(&sandbox).await, json!({ "E2B_SANDBOX": "false" }));
    assert_eq!(init(&sandbox, json!({ "accessToken": "tok-1", "skipRefresh": true })).await, 204);
    assert_eq!(init(&sandbox, json!({ "accessToken": "tok-1" })).await, 204);
    assert_eq!(init(&sandbox, json!({ "accessToken": "tok-2" })).await, 401);
    assert_eq!(init(&sandbox, json!({})).await, 401);
    let broken = sandbox.anonymous(Method::POST, "/init").body("{").send().await.expect("sent");
    assert_eq!(broken.status(), 400);
}

#[tokio::test]
async fn the_environment_is_replaced_unless_the_message_is_older() {
    let sandbox = Sandbox::start().await;
    let message = |variables: Value, time: &str| json!({ "envVars": variables, "timestamp": time });
    init(&sandbox, message(json!({ "A": "1", "B": "2" }), "2026-01-01T00:00:02Z")).await;
    assert_eq!(environment(&sandbox).await, json!({ "A": "1", "B": "2", "E2B_SANDBOX": "false" }));
    let late = init(&sandbox, message(json!({ "A": "old" }), "2026-01-01T00:00:01Z")).await;
    assert_eq!(late, 204);
    assert_eq!(environment(&sandbox).await["A"], "1");
    init(&sandbox, json!({ "envVars": { "E2B_SANDBOX": "mine" } })).await;
    assert_eq!(environment(&sandbox).await, json!({ "E2B_SANDBOX": "mine" }));
}

#[rstest]
#[case(Method::GET, "/envs")]
#[case(Method::GET, "/metrics")]
#[case(Method::POST, "/files/compose")]
#[case(Method::POST, "/v1/storage/mounts")]
#[case(Method::POST, "/v1/storage/unmounts")]
#[case(Method::POST, "/process.Process/List")]
#[case(Method::POST, "/filesystem.Filesystem/Stat")]
#[tokio::test]
async fn a_stored_token_is_required(#[case] method: Method, #[case] path: &str) {
    let sandbox = Sandbox::start_with_token("tok-1").await;
    for token in [None, Some("tok-2")] {
        let mut request = sandbox.anonymous(method.clone(), path).header("Content-Type", "application/json");
        if let Some(token) = token {
            request = request.header("X-Access-Token", token);
        }
        let answer = request.body("{}").send().await.expect("sent");
        assert_eq!(answer.status(), 401);
        assert_eq!(body(answer).await["code"], 401);
    }
    let right = sandbox.request(method, path).header("Content-Type", "application/json").body("{}").send();
    assert_ne!(right.await.expect("sent").status(), 401);
}

#[tokio::test]
async fn metrics_are_numbers_and_not_cached() {
    let sandbox = Sandbox::start().await;
    let answer = sandbox.request(Method::GET, "/metrics").send().await.expect("sent");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let metrics = body(answer).await;
    let names = metrics.as_object().expect("an object").keys().map(String::as_str).collect::<Vec<_>>();
    let expected = [
        "cpu_count",
        "cpu_used_pct",
        "disk_total",
        "disk_used",
        "mem_cache",
        "mem_total",
        "mem_total_mib",
        "mem_used",
        "mem_used_mib",
        "ts",
    ];
    assert_eq!(names, expected);
    assert!(metrics.as_object().expect("an object").values().all(Value::is_number), "{metrics}");
    assert!(metrics["mem_total"].as_u64() > metrics["mem_used"].as_u64(), "{metrics}");
    assert!(metrics["disk_total"].as_u64() > Some(0), "{metrics}");
}

#[tokio::test]
async fn every_origin_is_welcome() {
    let sandbox = Sandbox::start_with_token("tok-1").await;
    let preflight = sandbox
        .anonymous(Method::OPTIONS, "/process.Process/Start")
        .header("Origin", "https://page.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization,x-access-token");
    let answer = preflight.send().await.expect("sent");
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(answer.headers()["access-control-allow-methods"], "POST");
    assert_eq!(answer.headers()["access-control-allow-headers"], "authorization,x-access-token");
    let refused = sandbox.anonymous(Method::GET, "/envs").send().await.expect("sent");
    assert_eq!(refused.headers()["access-control-allow-origin"], "*", "errors, too");
}

#[tokio::test]
async fn unknown_routes_and_methods_say_so() {
    let sandbox = Sandbox::start().await;
    let unknown = sandbox.request(Method::GET, "/nothing").send().await.expect("sent");
    assert_eq!(unknown.status(), 404);
    assert_eq!(body(unknown).await["code"], 404);
    let wrong = sandbox.request(Method::PUT, "/files").send().await.expect("sent");
    assert_eq!(wrong.status(), 405);
    assert_eq!(body(wrong).await["code"], 405);
    assert_eq!(sandbox.refused("/process.Process/Nothing", json!({})).await, "unimplemented");
}

#[tokio::test]
async fn defaults_decide_where_nobody_says_otherwise() {
    let sandbox = Sandbox::start().await;
    let start = async || {
        let config = json!({ "cmd": "/bin/bash", "args": ["-c", "id -u; pwd"] });
        let (_, stream) = sandbox.started(json!({ "process": config, "stdin": false })).await;
        Output::of(stream).await.stdout
    };
    assert_eq!(start().await, format!("1000\n{}\n", sandbox.home().display()));
    init(&sandbox, json!({ "defaultUser": "root", "defaultWorkdir": "/usr" })).await;
    assert_eq!(start().await, "0\n/usr\n");
    let listed = sandbox.ask("/filesystem.Filesystem/Stat", json!({ "path": "" })).await;
    assert_eq!(listed["entry"]["path"], "/usr");
    init(&sandbox, json!({ "defaultUser": "eve", "defaultWorkdir": "" })).await;
    let refused = sandbox.refused("/filesystem.Filesystem/Stat", json!({ "path": "" })).await;
    assert_eq!(refused, "unauthenticated");
}

#[tokio::test]
async fn without_the_default_account_envd_acts_as_itself() {
    let sandbox = Sandbox::start_with(|options| options.default_user = "nobody-here".into()).await;
    let listed = sandbox.ask("/filesystem.Filesystem/Stat", json!({ "path": "~" })).await;
    assert_eq!(listed["entry"]["path"], sandbox.place.path().to_string_lossy().as_ref());
}

/// A request in chunks whose end comes only after the answer, as a client's next packet does.
#[rstest]
#[case::stream("/process.Process/Start", "application/connect+json", frame(&json!({ "process": { "cmd": "/bin/true" } })), "200 OK")]
#[case::refused("/files?path=/etc/shadow", "text/plain", b"nobody reads this".to_vec(), "400 Bad Request")]
#[case::unknown("/no/such/route", "text/plain", b"nobody reads this".to_vec(), "404 Not Found")]
#[tokio::test]
async fn a_connection_survives_a_request_that_ends_after_its_answer(
    #[case] path: &str,
    #[case] kind: &str,
    #[case] body: Vec<u8>,
    #[case] status: &str,
) {
    let sandbox = Sandbox::start().await;
    let connection = TcpStream::connect(sandbox.address).await.expect("connected");
    let mut connection = BufReader::new(connection);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: sandbox\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        body.len()
    );
    connection.write_all(&[head.as_bytes(), &body, b"\r\n"].concat()).await.expect("sent");
    assert_eq!(answer(&mut connection).await, format!("HTTP/1.1 {status}"));
    connection.write_all(b"0\r\n\r\n").await.expect("sent the end");
    connection.write_all(b"GET /health HTTP/1.1\r\nHost: sandbox\r\n\r\n").await.expect("sent");
    assert_eq!(answer(&mut connection).await, "HTTP/1.1 204 No Content");
}

/// The status line of the next answer, which is read to its end.
async fn answer(connection: &mut BufReader<TcpStream>) -> String {
    let status = line(connection).await;
    let (mut length, mut chunked) = (0, false);
    loop {
        let header = line(connection).await.to_ascii_lowercase();
        match header.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().expect("a length"),
            Some(("transfer-encoding", value)) => chunked = value == "chunked",
            Some(_) => {}
            None => break,
        }
    }
    while chunked {
        let length = usize::from_str_radix(&line(connection).await, 16).expect("a length");
        skip(connection, length + 2).await;
        chunked = length > 0;
    }
    skip(connection, length).await;
    status
}

async fn line(connection: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    soon("a line of the answer", connection.read_line(&mut line)).await.expect("readable");
    line.trim_end().to_owned()
}

async fn skip(connection: &mut BufReader<TcpStream>, length: usize) {
    let mut rest = vec![0; length];
    soon("the answer's body", connection.read_exact(&mut rest)).await.expect("readable");
}
