//! The way to a sandbox's ports.

use std::time::Duration;

use axum::body::Bytes;
use futures::SinkExt as _;
use http::header;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::envd::Envd;
use crate::lab::{LIMIT, Lab, POOL, answer, eventually};

/// A lab with one claimed sandbox, its runtime, and what the create answered.
async fn one(change: impl FnOnce(&mut manager::ManagerOptions)) -> (Lab, Envd, Value) {
    let (lab, envd) = (Lab::with(change).await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    let created = lab.create(json!({})).await;
    (lab, envd, created)
}

fn id(created: &Value) -> &str {
    created["sandboxID"].as_str().expect("an id")
}

#[tokio::test]
async fn header_host_and_path_lead_to_the_same_port() {
    let (lab, envd, created) = one(|_| {}).await;
    let (id, port) = (id(&created), envd.port);
    let host = format!("{port}-{id}.sbx.localhost:3000");
    for request in [
        lab.http.get(lab.url("/echo?a=%2F")).header("e2b-sandbox-id", id).header("e2b-sandbox-port", port),
        lab.http.get(lab.url("/echo?a=%2F")).header(header::HOST, &host),
        lab.http.get(lab.url(&format!("/kruise/{id}/{port}/echo?a=%2F"))),
    ] {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["seen-uri"], "/echo?a=%2F");
    }
}

#[rstest]
#[case(Some("default--nobody"), "49983", 502, json!({"sandboxId": "default--nobody", "message": "The sandbox was not found", "code": 502}))]
#[case(Some("nonsense"), "49983", 502, json!({"sandboxId": "nonsense", "message": "The sandbox was not found", "code": 502}))]
#[tokio::test]
async fn an_unknown_sandbox_is_a_502_in_exact_words(
    #[case] sandbox: Option<&str>,
    #[case] port: &str,
    #[case] status: u16,
    #[case] body: Value,
) {
    let lab = Lab::new().await;
    let request = lab.http.get(lab.url("/health")).header("e2b-sandbox-id", sandbox.unwrap_or_default());
    let response = request.header("e2b-sandbox-port", port).send().await.expect("an answer");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(answer(response).await, (status, body));
}

#[tokio::test]
async fn a_closed_port_is_a_502_in_other_words() {
    let (lab, _envd, created) = one(|_| {}).await;
    let request =
        lab.http.get(lab.url("/")).header("e2b-sandbox-id", id(&created)).header("e2b-sandbox-port", "1");
    let expected = json!({
        "sandboxId": id(&created), "port": 1, "code": 502,
        "message": "The sandbox is running but port is not open",
    });
    assert_eq!(answer(request.send().await.expect("an answer")).await, (502, expected));
}

#[tokio::test]
async fn a_sandbox_that_is_about_to_be_ready_is_waited_for() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    let created = lab.create(json!({"timeout": 3600})).await;
    let name = format!("{POOL}-0");
    lab.make_unready(&name).await;
    eventually("the manager has seen it", || async { lab.get("/v2/sandboxes").await.1 == json!([]) }).await;
    let request = lab.http.get(lab.url("/echo")).header("e2b-sandbox-id", id(&created));
    let asking = tokio::spawn(request.header("e2b-sandbox-port", envd.port).send());
    // The request can't be seen while it waits; if it comes later than this, it has nothing to wait for.
    tokio::task::yield_now().await;
    lab.make_ready(&name, &envd).await;
    let response = timeout(LIMIT, asking).await.expect("in time").expect("no panic").expect("an answer");
    assert_eq!(response.status(), 200);
    // One that stays so is refused in the words for a sandbox that is gone.
    lab.make_unready(&name).await;
    eventually("the manager has seen it", || async { lab.get("/v2/sandboxes").await.1 == json!([]) }).await;
    let request = lab.http.get(lab.url("/echo")).header("e2b-sandbox-id", id(&created));
    let asking = tokio::spawn(request.send());
    eventually("it is given up by the clock", || async {
        lab.clock.advance(Duration::from_secs(15));
        asking.is_finished()
    })
    .await;
    let (status, body) = answer(asking.await.expect("no panic").expect("an answer")).await;
    assert_eq!((status, body["message"].as_str()), (502, Some("The sandbox was not found")));
}

#[tokio::test]
async fn a_bad_port_is_a_400() {
    let lab = Lab::new().await;
    let request =
        lab.http.get(lab.url("/")).header("e2b-sandbox-id", "a--b").header("e2b-sandbox-port", "http");
    assert_eq!(answer(request.send().await.expect("an answer")).await.0, 400);
}

#[tokio::test]
async fn both_directions_stream_without_waiting_for_each_other() {
    let (lab, envd, created) = one(|_| {}).await;
    let (mut sender, receiver) = futures::channel::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let request = lab.http.post(lab.url("/echo")).header("e2b-sandbox-id", id(&created));
    let request = request.header("e2b-sandbox-port", envd.port).body(reqwest::Body::wrap_stream(receiver));
    let sending = tokio::spawn(request.send());
    for word in ["one", "two", "three"] {
        sender.send(Ok(Bytes::from(word))).await.expect("taken");
    }
    let mut response =
        timeout(LIMIT, sending).await.expect("headers in time").expect("no panic").expect("an answer");
    let mut seen = Vec::new();
    while seen.len() < "onetwothree".len() {
        let chunk = timeout(LIMIT, response.chunk()).await.expect("a chunk in time").expect("no error");
        seen.extend_from_slice(&chunk.expect("the request is still open, so the answer is too"));
    }
    assert_eq!(seen, b"onetwothree");
    drop(sender);
    assert!(timeout(LIMIT, response.chunk()).await.expect("the end in time").expect("no error").is_none());
}

// §4.7: whether the pod goes or is kept asleep
#[tokio::test]
async fn a_pause_breaks_off_what_is_under_way() {
    let (lab, envd, created) = one(|_| {}).await;
    let (mut sender, receiver) = futures::channel::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let request = lab.http.post(lab.url("/echo")).header("e2b-sandbox-id", id(&created));
    let request = request.header("e2b-sandbox-port", envd.port).body(reqwest::Body::wrap_stream(receiver));
    let sending = tokio::spawn(request.send());
    sender.send(Ok(Bytes::from("one"))).await.expect("taken");
    let mut streaming =
        timeout(LIMIT, sending).await.expect("headers in time").expect("no panic").expect("an answer");
    assert_eq!(
        timeout(LIMIT, streaming.chunk()).await.expect("in time").expect("no error").as_deref(),
        Some(&b"one"[..])
    );
    // a program that takes a request and never answers it
    let (listener, port) = program(&envd).await;
    let mut silent = ask(&lab, &created, port, "").await;
    let (mut inside, _) = timeout(LIMIT, listener.accept()).await.expect("in time").expect("accepted");
    read_to(&mut inside, "\r\n\r\n").await;

    crate::pausing::say_paused(&lab).await;
    let broken = timeout(LIMIT, streaming.chunk()).await.expect("the end in time");
    assert!(broken.is_err(), "an answer that is not complete is no complete one: {broken:?}");
    let head = read_to(&mut silent, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    drop(sender);
}

/// A program in the pod of `envd` that takes one connection.
async fn program(envd: &Envd) -> (TcpListener, u16) {
    let listener = TcpListener::bind((envd.ip.as_str(), 0)).await.expect("a port in the pod");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

/// A raw connection to the gateway that has asked for `port` of the sandbox.
async fn ask(lab: &Lab, created: &Value, port: u16, more: &str) -> TcpStream {
    let mut connection = TcpStream::connect(lab.address).await.expect("the gateway");
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: {}\r\nE2b-Sandbox-Port: {port}\r\n{more}\r\n",
        id(created)
    );
    connection.write_all(head.as_bytes()).await.expect("sent");
    connection
}

/// Reads until `end` has been seen.
async fn read_to(connection: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        while !seen.ends_with(end.as_bytes()) {
            seen.push(connection.read_u8().await.expect("more"));
        }
    };
    timeout(LIMIT, reading).await.unwrap_or_else(|_| panic!("no {end:?} within {LIMIT:?}"));
    String::from_utf8(seen).expect("text")
}

#[tokio::test]
async fn upgrades_join_both_connections() {
    let (lab, envd, created) = one(|_| {}).await;
    let (listener, port) = program(&envd).await;
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("the gateway");
        let head = read_to(&mut connection, "\r\n\r\n").await.to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("sec-websocket-key: abc"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        connection.write_all(answer).await.expect("sent");
        let mut word = [0; 4];
        connection.read_exact(&mut word).await.expect("a word");
        assert_eq!(&word, b"ping");
        connection.write_all(b"pong").await.expect("sent");
        assert_eq!(connection.read(&mut word).await.expect("the end"), 0, "the client's close arrives");
    });
    let more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: abc\r\n";
    let mut client = ask(&lab, &created, port, more).await;
    let head = read_to(&mut client, "\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 101") && head.to_ascii_lowercase().contains("upgrade: websocket"),
        "{head}"
    );
    client.write_all(b"ping").await.expect("sent");
    read_to(&mut client, "pong").await;
    drop(client);
    timeout(LIMIT, server).await.expect("the close in time").expect("no panic");
}

#[tokio::test]
async fn a_client_who_goes_away_closes_the_connection_to_the_pod() {
    let (lab, envd, created) = one(|_| {}).await;
    let (listener, port) = program(&envd).await;
    let client = ask(&lab, &created, port, "").await;
    let (mut connection, _) = timeout(LIMIT, listener.accept()).await.expect("in time").expect("the gateway");
    read_to(&mut connection, "\r\n\r\n").await;
    drop(client);
    let mut rest = [0; 1];
    let end = timeout(LIMIT, connection.read(&mut rest)).await.expect("closed in time");
    assert!(matches!(end, Ok(0) | Err(_)));
}

#[tokio::test]
async fn an_endless_answer_ends_when_the_client_goes_away() {
    let (lab, envd, created) = one(|_| {}).await;
    let (listener, port) = program(&envd).await;
    let mut client = ask(&lab, &created, port, "").await;
    let (mut connection, _) = timeout(LIMIT, listener.accept()).await.expect("in time").expect("the gateway");
    read_to(&mut connection, "\r\n\r\n").await;
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    connection.write_all(answer).await.expect("sent");
    read_to(&mut client, "hello").await;
    drop(client);
    let mut rest = [0; 1];
    let end = timeout(LIMIT, connection.read(&mut rest)).await.expect("closed in time");
    assert!(matches!(end, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_program_that_closes_without_an_answer_is_a_502_of_unknown_state() {
    let (lab, envd, created) = one(|_| {}).await;
    let (listener, port) = program(&envd).await;
    let program = async {
        let (mut connection, _) = listener.accept().await.expect("the gateway");
        read_to(&mut connection, "\r\n\r\n").await;
    };
    let request = lab.http.get(lab.url("/")).header("e2b-sandbox-id", id(&created));
    let request = request.header("e2b-sandbox-port", port.to_string()).send();
    let (response, ()) = tokio::join!(request, program);
    let (status, body) = answer(response.expect("an answer")).await;
    assert_eq!(status, 502);
    let message = body["message"].as_str().expect("text");
    assert!(!message.contains("was not found") && !message.contains("port is not open"), "{message}");
}

#[rstest]
#[case("49983", None, true)]
#[case("49983", Some("wrong"), true)]
#[case("1", None, false)]
#[tokio::test]
async fn the_token_is_asked_for_on_envd_s_port_only(
    #[case] port: &str,
    #[case] token: Option<&str>,
    #[case] refused: bool,
) {
    let (lab, _envd, created) = one(|options| options.gateway_checks_token = true).await;
    let ask = |token: Option<&str>| {
        let request = lab.http.get(lab.url("/health")).header("e2b-sandbox-id", id(&created));
        let request = request.header("e2b-sandbox-port", port);
        token
            .map_or(request.try_clone().expect("no body"), |token| request.header("x-access-token", token))
            .send()
    };
    assert_eq!(ask(token).await.expect("an answer").status() == 401, refused);
    // whatever listens on envd's port of this machine, or nothing: the gateway lets the right token through
    assert_ne!(ask(created["envdAccessToken"].as_str()).await.expect("an answer").status(), 401);
}
