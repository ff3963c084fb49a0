//! Faults and the journal, seen from a client.

mod common;

use std::time::Duration;

use common::{BUCKET, ID, SECRET, Server, pattern, refusal};
use lab::OssFault;
use reqwest::StatusCode;

fn fault(operation: &str) -> OssFault {
    OssFault { operation: Some(operation.to_owned()), ..OssFault::default() }
}

#[tokio::test]
async fn an_error_strikes_its_operation_until_it_has_struck_often_enough() {
    let server = Server::start().await;
    server.put("object", "abc").await;
    let rule = OssFault { error: Some("503 SlowDown".to_owned()), times: Some(2), ..fault("GetObject") };
    server.sim.inject(rule).expect("a fault");
    for _ in 0..2 {
        assert_eq!(refusal(server.get("object").await).await, (503, "SlowDown".to_owned()));
        server.put("object", "abc").await;
    }
    assert_eq!(server.get("object").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_refused_upload_gets_its_answer_and_does_no_work() {
    let server = Server::start().await;
    let rule = OssFault { error: Some("500 InternalError".to_owned()), ..fault("PutObject") };
    server.sim.inject(rule).expect("a fault");
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    let response = server.send(&bucket.put_object(Some(&credentials), "object"), pattern(8_000_000)).await;
    assert_eq!(refusal(response).await, (500, "InternalError".to_owned()));
    assert_eq!(server.sim.list_objects(BUCKET, "").expect("a bucket"), []);
}

#[tokio::test]
async fn a_delay_holds_back_until_it_is_healed() {
    let server = Server::start().await;
    server.put("object", "abc").await;
    let rule = OssFault { delay_milliseconds: Some(3_600_000), ..fault("GetObject") };
    let id = server.sim.inject(rule).expect("a fault");
    let mut journal = server.journal.follow(0);
    let heal = async {
        loop {
            if journal.next().await.kind == "struck" {
                return server.sim.heal(id);
            }
        }
    };
    let (response, healed) = tokio::join!(server.get("object"), heal);
    healed.expect("healed");
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn half_a_body_breaks_the_connection() {
    let server = Server::start().await;
    let bytes = pattern(1_000_000);
    server.put("object", bytes.clone()).await;
    let id = server.sim.inject(OssFault { half_body: true, ..fault("GetObject") }).expect("a fault");
    let mut response = server.get("object").await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut read = Vec::new();
    let broken = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => read.extend_from_slice(&chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken, "the body ended as if it were complete");
    assert!(read.len() <= 500_000 && bytes.starts_with(&read), "{} bytes came", read.len());
    server.sim.heal(id).expect("healed");

    server.sim.inject(OssFault { half_body: true, ..fault("PutObject") }).expect("a fault");
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    let url = rusty_s3::S3Action::sign(&bucket.put_object(Some(&credentials), "new"), Duration::from_mins(5));
    assert!(server.http.put(url).body(pattern(5_000_000)).send().await.is_err());
    assert!(server.sim.get_object(BUCKET, "new").await.is_err());
}

#[tokio::test]
async fn a_server_that_is_gone_refuses_connections_and_comes_back_at_its_address() {
    let server = Server::start().await;
    server.put("object", "abc").await;
    for _ in 0..2 {
        let gone = OssFault { gone: true, ..OssFault::default() };
        let id = server.sim.inject(gone).expect("a fault");
        // The client has a connection from before: it is of no use either.
        let error = server.http.get(&server.endpoint).send().await.expect_err("no answer");
        assert!(error.is_connect() || error.is_request(), "{error:?}");
        server.sim.settled().await;
        let error = server.http.get(&server.endpoint).send().await.expect_err("nobody listens");
        assert!(error.is_connect(), "{error:?}");
        server.sim.heal(id).expect("healed");
        server.sim.settled().await;
        let response = server.get("object").await;
        assert_eq!(
            (response.status(), response.text().await.expect("a body")),
            (StatusCode::OK, "abc".to_owned())
        );
    }
}

#[tokio::test]
async fn a_server_that_hangs_answers_once_it_is_healed() {
    let server = Server::start().await;
    server.put("object", "abc").await;
    let hang = OssFault { hang: true, ..OssFault::default() };
    let id = server.sim.inject(hang).expect("a fault");
    let mut journal = server.journal.follow(0);
    let heal = async {
        while journal.next().await.kind != "struck" {}
        // Somebody else connects, and isn't answered before the first one is.
        let address = server.endpoint.trim_start_matches("http://");
        tokio::net::TcpStream::connect(address).await.expect("it accepts connections");
        server.sim.heal(id).expect("healed");
    };
    let (first, ()) = tokio::join!(server.get("object"), heal);
    assert_eq!(first.status(), StatusCode::OK);
    let healed = server.journal.entries().iter().position(|entry| entry.kind == "healed");
    let answered = server.journal.entries().iter().position(|entry| entry.kind == "GetObject");
    assert!(healed.is_some() && healed < answered, "answered at {answered:?}, healed at {healed:?}");
}

#[tokio::test]
async fn the_journal_has_every_request_and_no_secret() {
    let server = Server::start().await;
    server.put("object", "abc").await;
    assert_eq!(server.get("missing").await.status(), StatusCode::NOT_FOUND);
    let entries: Vec<_> =
        server.journal.entries().into_iter().filter(|entry| entry.source == "oss").collect();
    let seen: Vec<_> = entries.iter().map(|entry| (entry.kind.as_str(), entry.subject.as_str())).collect();
    assert_eq!(seen, [("PutObject", "demo-bucket/object"), ("GetObject", "demo-bucket/missing")]);
    assert_eq!(entries[0].body["status"], 200);
    assert_eq!(entries[1].body["code"], "NoSuchKey");
    assert_eq!(entries[0].body["accessKey"].as_str().expect("a name for the key").len(), 8);
    let text =
        serde_json::to_string(&entries.iter().map(|entry| &**entry).collect::<Vec<_>>()).expect("text");
    assert!(!text.contains(ID) && !text.contains(SECRET), "{text}");
}

#[tokio::test]
async fn shutdown_closes_listeners_and_connections() {
    let server = Server::start().await;
    server.put("object", "abc").await;
    let limit = Duration::from_secs(5);
    tokio::time::timeout(limit, server.sim.shutdown()).await.expect("shut down within 5 s");
    assert!(server.http.get(&server.endpoint).send().await.is_err());
}
