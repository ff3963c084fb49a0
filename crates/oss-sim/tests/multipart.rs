//! Multipart uploads over HTTP.

#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

mod common;

use common::{BUCKET, Server, header, headers, pattern, refusal};
use rusty_s3::actions::CreateMultipartUpload;

const PART: usize = 300 * 1024;

async fn create(server: &Server, key: &str) -> String {
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    let action = bucket.create_multipart_upload(Some(&credentials), key);
    let body = server.send(&action, "").await.text().await.expect("a body");
    CreateMultipartUpload::parse_response(&body).expect("an upload").upload_id().to_owned()
}

async fn upload(server: &Server, key: &str, id: &str, number: u16, bytes: Vec<u8>) -> String {
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    let response = server.send(&bucket.upload_part(Some(&credentials), key, number, id), bytes).await;
    assert_eq!(response.status(), 200);
    header(&response, "etag").trim_matches('"').to_owned()
}

async fn complete(server: &Server, key: &str, id: &str, etags: &[&str]) -> reqwest::Response {
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    let action = bucket.complete_multipart_upload(Some(&credentials), key, id, etags.iter().copied());
    let url = rusty_s3::S3Action::sign(&action, std::time::Duration::from_mins(5));
    server.http.post(url).body(action.body()).send().await.expect("an answer")
}

#[tokio::test]
async fn parts_become_one_object() {
    let server = Server::start().await;
    let id = create(&server, "object").await;
    let bytes = pattern(2 * PART + 5);
    let mut etags = Vec::new();
    for (number, part) in (1..).zip(bytes.chunks(PART)) {
        etags.push(upload(&server, "object", &id, number, part.to_vec()).await);
    }
    let etags: Vec<&str> = etags.iter().map(String::as_str).collect();
    let response = complete(&server, "object", &id, &etags).await;
    assert_eq!(response.status(), 200);
    let body = response.text().await.expect("a body");
    assert!(body.contains("-3&quot;</ETag>") || body.contains("-3\"</ETag>"), "{body}");

    let part = server.get_with("object", headers(&[("range", "bytes=307190-307210")])).await;
    assert_eq!(part.bytes().await.expect("a body"), bytes[307_190..=307_210]);
    assert_eq!(server.get("object").await.bytes().await.expect("a body"), bytes);
    let again = complete(&server, "object", &id, &etags).await;
    assert_eq!(refusal(again).await, (404, "NoSuchUpload".to_owned()));
}

#[tokio::test]
async fn a_part_can_be_copied_from_an_object() {
    let server = Server::start().await;
    let bytes = pattern(4 * PART);
    server.put("source", bytes.clone()).await;
    let id = create(&server, "target").await;
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    let copy = headers(&[
        ("x-amz-copy-source", "demo-bucket/source"),
        ("x-amz-copy-source-range", "bytes=100-614499"),
    ]);
    let action = bucket.upload_part(Some(&credentials), "target", 1, &id);
    let body = server.send_with(&action, copy, "").await.text().await.expect("a body");
    assert!(body.contains("<CopyPartResult"), "{body}");
    let tail = upload(&server, "target", &id, 2, b"tail".to_vec()).await;
    let copied = body.split("<ETag>").nth(1).and_then(|rest| rest.split("</ETag>").next()).expect("an ETag");
    let copied = copied.replace("&quot;", "");
    assert_eq!(complete(&server, "target", &id, &[copied.trim_matches('"'), &tail]).await.status(), 200);
    server.sim.delete_object(BUCKET, "source").expect("deleted");

    let target = server.sim.get_object(BUCKET, "target").await.expect("stored");
    assert_eq!(target[..614_400], bytes[100..614_500]);
    assert_eq!(target[614_400..], *b"tail");
}

#[tokio::test]
async fn an_aborted_upload_is_gone_with_its_bytes() {
    let server = Server::start().await;
    let id = create(&server, "object").await;
    upload(&server, "object", &id, 1, pattern(PART)).await;
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    let abort = bucket.abort_multipart_upload(Some(&credentials), "object", &id);
    assert_eq!(server.send(&abort, "").await.status(), 204);
    let late = server.send(&bucket.upload_part(Some(&credentials), "object", 2, &id), "x").await;
    assert_eq!(refusal(late).await, (404, "NoSuchUpload".to_owned()));
    assert_eq!(std::fs::read_dir(server.directory.path()).expect("a directory").count(), 0);
}

#[tokio::test]
async fn a_wrong_list_of_parts_is_refused() {
    let server = Server::start().await;
    let id = create(&server, "object").await;
    let small = upload(&server, "object", &id, 1, b"small".to_vec()).await;
    let last = upload(&server, "object", &id, 2, b"last".to_vec()).await;
    let too_small = complete(&server, "object", &id, &[&small, &last]).await;
    assert_eq!(refusal(too_small).await, (400, "EntityTooSmall".to_owned()));
    let other = complete(&server, "object", &id, &[&last]).await;
    assert_eq!(refusal(other).await, (400, "InvalidPart".to_owned()));
}
