//! envd behind the gateway, by wiremock: framing of command streams, files, errors.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail hard")]

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use e2b_client::{Client, ClientError, Code, Command, FileKind, Frame, Sandbox, SandboxInfo, Settings};
use serde_json::{Value, json};
use wiremock::matchers::{body_json, header, method, path, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

fn sandbox(server: &MockServer) -> Sandbox {
    let info = SandboxInfo {
        sandbox_id: "default--a".into(),
        envd_access_token: Some("token-1".into()),
        ..SandboxInfo::default()
    };
    Client::new(Settings::new(server.uri(), "key")).expect("settings").sandbox(&info)
}

fn message(event: &Value) -> Vec<u8> {
    Frame::message(json!({ "event": event }).to_string().into_bytes()).encode()
}

fn end(payload: &str) -> Vec<u8> {
    Frame { is_end: true, payload: payload.as_bytes().to_vec() }.encode()
}

fn output(stream: &str, bytes: &[u8]) -> Value {
    json!({ "data": { stream: BASE64_STANDARD.encode(bytes) } })
}

async fn stream(server: &MockServer, frames: &[Vec<u8>]) {
    let template = ResponseTemplate::new(200).set_body_raw(frames.concat(), "application/connect+json");
    Mock::given(method("POST"))
        .and(path("/process.Process/Start"))
        .respond_with(template)
        .mount(server)
        .await;
}

#[tokio::test]
async fn a_command_is_read_to_its_end() {
    let server = MockServer::start().await;
    let snowman = "☃".as_bytes();
    stream(
        &server,
        &[
            message(&json!({"start": {"pid": 7}})),
            message(&output("stdout", &snowman[..1])),
            message(&json!({"keepalive": {}})),
            message(&output("stderr", b"oh\n")),
            message(&output("stdout", &snowman[1..])),
            message(&json!({"end": {"exitCode": 3, "exited": true, "status": "exit status 3", "error": "exit status 3"}})),
            end("{}"),
        ],
    )
    .await;
    let output = sandbox(&server).run(&Command::new("make snow")).await.expect("run");
    assert_eq!((output.process_id, output.exit_code), (7, 3));
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("☃", "oh\n"),
        "split characters are joined"
    );
    assert_eq!(output.error.as_deref(), Some("exit status 3"));
}

#[tokio::test]
async fn the_request_is_one_frame_with_the_headers_of_the_contract() {
    let server = MockServer::start().await;
    stream(&server, &[message(&json!({"start": {"pid": 1}})), message(&json!({"end": {}})), end("{}")]).await;
    let command = Command {
        user: Some("root".into()),
        working_directory: Some("/x".into()),
        environment: [("A".to_owned(), "b".to_owned())].into(),
        limit: Some(Duration::from_secs(9)),
        ..Command::new("true")
    };
    let output = sandbox(&server).run(&command).await.expect("run");
    assert_eq!(output.exit_code, 0, "absent means 0");
    let requests = server.received_requests().await.expect("recorded");
    let request = &requests[0];
    let value =
        |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    for (name, expected) in [
        ("e2b-sandbox-id", "default--a"),
        ("e2b-sandbox-port", "49983"),
        ("x-access-token", "token-1"),
        ("authorization", "Basic cm9vdDo="),
        ("content-type", "application/connect+json"),
        ("connect-timeout-ms", "9000"),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    assert_eq!(
        payload(request),
        json!({
            "process": {"cmd": "/bin/bash", "args": ["-l", "-c", "true"], "envs": {"A": "b"}, "cwd": "/x"},
            "stdin": false,
        })
    );
}

fn payload(request: &Request) -> Value {
    let [0, a, b, c, d, payload @ ..] = request.body.as_slice() else { panic!("no frame") };
    assert_eq!(u32::from_be_bytes([*a, *b, *c, *d]) as usize, payload.len());
    serde_json::from_slice(payload).expect("JSON")
}

#[rstest::rstest]
#[case::no_end_frame(&[message(&json!({"start": {"pid": 1}}))], "the stream has no end frame")]
#[case::no_end_event(&[message(&json!({"start": {"pid": 1}})), end("{}")], "the stream ended without an `end` event")]
#[case::no_start(&[message(&json!({"keepalive": {}})), end("{}")], "the first event is not `start`")]
#[case::no_event(&[message(&Value::Null), end("{}")], "a message has no event")]
#[case::no_base64(&[message(&json!({"start": {"pid": 1}})), message(&json!({"data": {"stdout": "?"}})), end("{}")], "output is not base64, Invalid")]
#[tokio::test]
async fn streams_that_break_the_rules_are_refused(#[case] frames: &[Vec<u8>], #[case] words: &str) {
    let server = MockServer::start().await;
    stream(&server, frames).await;
    let error = sandbox(&server).run(&Command::new("x")).await.expect_err("against the protocol");
    assert!(matches!(error, ClientError::Malformed { .. }));
    let text = error.to_string();
    assert!(text.contains(words), "{text}");
}

#[tokio::test]
async fn an_error_in_the_end_frame_is_a_refusal() {
    let server = MockServer::start().await;
    stream(&server, &[end(r#"{"error":{"code":"unauthenticated","message":"no such user"}}"#)]).await;
    let error = sandbox(&server).run(&Command::new("x")).await.expect_err("refused");
    let refusal = error.refusal().expect("a refusal");
    assert_eq!(refusal.code, Some(Code::Name("unauthenticated".into())));
    assert_eq!((refusal.status, refusal.message.as_str()), (200, "no such user"));
}

#[tokio::test]
async fn the_gateways_refusal_is_a_refusal_too() {
    let server = MockServer::start().await;
    let body = json!({"sandboxId": "default--a", "message": "The sandbox was not found", "code": 502});
    Mock::given(path("/process.Process/Start"))
        .respond_with(ResponseTemplate::new(502).set_body_json(&body))
        .mount(&server)
        .await;
    Mock::given(path("/health"))
        .respond_with(ResponseTemplate::new(502).set_body_json(&body))
        .mount(&server)
        .await;
    let error = sandbox(&server).run(&Command::new("x")).await.expect_err("refused");
    assert_eq!(error.refusal().map(|refusal| refusal.status), Some(502));
    assert!(!sandbox(&server).is_running().await.expect("an answer"));
}

#[tokio::test]
async fn files_are_read_and_written() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/files"))
        .and(query_param("path", "/a b/ü"))
        .and(query_param("username", "root"))
        .and(header("x-access-token", "token-1"))
        .respond_with(ResponseTemplate::new(200).set_body_bytes(vec![0, 255]))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/files"))
        .and(query_param("path", "/x"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!([{"path": "/x", "name": "x", "type": "file"}])),
        )
        .expect(1)
        .mount(&server)
        .await;
    let sandbox = sandbox(&server);
    assert_eq!(sandbox.read("/a b/ü", Some("root")).await.expect("read"), [0, 255]);
    sandbox.write("/x", b"--mountlab-boundary-0 inside", None).await.expect("written");
    let requests = server.received_requests().await.expect("recorded");
    let body = String::from_utf8_lossy(&requests[1].body).into_owned();
    assert!(body.starts_with(
        "--mountlab-boundary-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"/x\""
    ));
    assert!(body.ends_with("\r\n\r\n--mountlab-boundary-0 inside\r\n--mountlab-boundary-1--\r\n"), "{body}");
}

#[tokio::test]
async fn directories_are_listed_with_sizes_as_text_or_number() {
    let server = MockServer::start().await;
    let entries = json!({"entries": [
        {"name": "a", "type": "FILE_TYPE_FILE", "path": "/d/a", "size": "7", "mode": 420, "permissions": "-rw-r--r--"},
        {"name": "b", "type": "FILE_TYPE_DIRECTORY", "path": "/d/b", "size": 8},
        {"name": "c", "type": "FILE_TYPE_UNSPECIFIED", "path": "/d/c", "symlinkTarget": "/e"},
    ]});
    Mock::given(path("/filesystem.Filesystem/ListDir"))
        .and(body_json(json!({"path": "/d", "depth": 2})))
        .respond_with(ResponseTemplate::new(200).set_body_json(entries))
        .mount(&server)
        .await;
    let entries = sandbox(&server).list("/d", 2, None).await.expect("listed");
    assert_eq!(entries.iter().map(|entry| entry.size).collect::<Vec<_>>(), [7, 8, 0]);
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [FileKind::File, FileKind::Directory, FileKind::Other]);
}

#[tokio::test]
async fn a_connect_error_keeps_its_name() {
    let server = MockServer::start().await;
    let refused = json!({"code": "not_found", "message": "no such file"});
    for call in ["Stat", "MakeDir", "Remove"] {
        Mock::given(path(format!("/filesystem.Filesystem/{call}")))
            .respond_with(ResponseTemplate::new(404).set_body_json(&refused))
            .mount(&server)
            .await;
    }
    let sandbox = sandbox(&server);
    let errors = [
        sandbox.stat("/x", None).await.map(|_| ()),
        sandbox.make_dir("/x", None).await.map(|_| ()),
        sandbox.remove("/x", None).await,
    ];
    for error in errors {
        let error = error.expect_err("refused");
        assert_eq!(
            error.refusal().and_then(|refusal| refusal.code.clone()),
            Some(Code::Name("not_found".into()))
        );
    }
}
