//! Objects over HTTP: what is put is what is got.

mod common;

use std::time::Duration;

use common::{BUCKET, Server, header, headers, pattern, refusal};
use rstest::rstest;
use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};

#[rstest]
#[case::empty(0)]
#[case::small(5)]
#[case::last_in_memory(64 * 1024)]
#[case::first_in_a_file(64 * 1024 + 1)]
#[case::several_batches(5 * 1024 * 1024 + 17)]
#[tokio::test]
async fn what_is_put_is_what_is_got(#[case] length: usize) {
    let server = Server::start().await;
    let bytes = pattern(length);
    let etag = server.put("folder/ä b+c", bytes.clone()).await;
    let response = server.get("folder/ä b+c").await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-length"), length.to_string());
    assert_eq!(header(&response, "etag"), etag);
    assert!(!header(&response, "last-modified").is_empty());
    assert!(!header(&response, "x-oss-request-id").is_empty());
    assert_eq!(response.bytes().await.expect("a body"), bytes);
    assert_eq!(server.sim.get_object(BUCKET, "folder/ä b+c").await.expect("stored"), bytes);
}

#[tokio::test]
async fn an_etag_is_the_md5() {
    let server = Server::start().await;
    assert_eq!(server.put("hello", "hello from OSS\n").await, "\"fc24078b9a142d60bdbd495f7720459a\"");
}

#[rstest]
#[case::first("bytes=0-0", 206, 0..1)]
#[case::middle("bytes=70000-140000", 206, 70_000..140_001)]
#[case::to_the_end("bytes=699999-", 206, 699_999..700_000)]
#[case::past_the_end("bytes=699999-9999999", 206, 699_999..700_000)]
#[case::suffix("bytes=-3", 206, 699_997..700_000)]
#[case::longer_than_the_object("bytes=-9999999", 206, 0..700_000)]
#[tokio::test]
async fn ranges(#[case] range: &str, #[case] status: u16, #[case] expected: std::ops::Range<usize>) {
    let server = Server::start().await;
    let bytes = pattern(700_000);
    server.put("object", bytes.clone()).await;
    let response = server.get_with("object", headers(&[("range", range)])).await;
    assert_eq!(response.status(), status);
    let content_range = format!("bytes {}-{}/700000", expected.start, expected.end - 1);
    assert_eq!(header(&response, "content-range"), content_range);
    assert_eq!(response.bytes().await.expect("a body"), bytes[expected]);
}

#[tokio::test]
async fn a_range_behind_the_end_is_416() {
    let server = Server::start().await;
    server.put("object", "abc").await;
    let response = server.get_with("object", headers(&[("range", "bytes=3-")])).await;
    assert_eq!(refusal(response).await, (416, "InvalidRange".to_owned()));
}

#[rstest]
#[case::same("if-match", "\"900150983cd24fb0d6963f7d28e17f72\"", 200)]
#[case::other("if-match", "\"0\"", 412)]
#[case::not_same("if-none-match", "\"900150983cd24fb0d6963f7d28e17f72\"", 304)]
#[case::not_other("if-none-match", "\"0\"", 200)]
#[case::long_ago("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT", 200)]
#[case::unmodified_since_long_ago("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT", 412)]
#[tokio::test]
async fn conditions_of_a_read(#[case] name: &'static str, #[case] value: &str, #[case] status: u16) {
    let server = Server::start().await;
    server.put("object", "abc").await;
    assert_eq!(server.get_with("object", headers(&[(name, value)])).await.status(), status);
}

#[tokio::test]
async fn a_condition_of_a_write_protects_what_is_there() {
    let server = Server::start().await;
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    let put = bucket.put_object(Some(&credentials), "object");
    let new_only = headers(&[("if-none-match", "*")]);
    assert_eq!(server.send_with(&put, new_only.clone(), "one").await.status(), 200);
    let second = server.send_with(&put, new_only, "two").await;
    assert_eq!(refusal(second).await, (412, "PreconditionFailed".to_owned()));
    assert_eq!(server.sim.get_object(BUCKET, "object").await.expect("stored"), "one");
}

#[tokio::test]
async fn metadata_comes_back_and_a_copy_keeps_or_replaces_it() {
    let server = Server::start().await;
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    let stored = headers(&[("content-type", "text/x-lab"), ("x-amz-meta-mode", "33188")]);
    server.send_with(&bucket.put_object(Some(&credentials), "object"), stored, "abc").await;

    let copy = headers(&[("x-amz-copy-source", "demo-bucket/object")]);
    let response = server.send_with(&bucket.put_object(Some(&credentials), "kept"), copy, "").await;
    assert_eq!(response.status(), 200);
    assert!(response.text().await.expect("a body").contains("<CopyObjectResult"));
    let replace = headers(&[
        ("x-amz-copy-source", "/demo-bucket/object"),
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-meta-mode", "33279"),
    ]);
    server.send_with(&bucket.put_object(Some(&credentials), "object"), replace, "").await;

    for (key, kind, mode) in
        [("kept", "text/x-lab", "33188"), ("object", "application/octet-stream", "33279")]
    {
        let response = server.send(&bucket.head_object(Some(&credentials), key), "").await;
        assert_eq!(header(&response, "content-type"), kind, "{key}");
        assert_eq!(header(&response, "x-amz-meta-mode"), mode, "{key}");
        assert_eq!(header(&response, "content-length"), "3", "{key}");
    }
}

#[tokio::test]
async fn deleting_removes_the_bytes_as_well() {
    let server = Server::start().await;
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    server.put("object", pattern(100_000)).await;
    assert_eq!(std::fs::read_dir(server.directory.path()).expect("a directory").count(), 1);
    for _ in 0..2 {
        let response = server.send(&bucket.delete_object(Some(&credentials), "object"), "").await;
        assert_eq!(response.status(), 204);
    }
    assert_eq!(refusal(server.get("object").await).await, (404, "NoSuchKey".to_owned()));
    assert_eq!(std::fs::read_dir(server.directory.path()).expect("a directory").count(), 0);
}

#[tokio::test]
async fn a_wrong_content_md5_stores_nothing() {
    let server = Server::start().await;
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    let wrong = headers(&[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")]);
    let response = server.send_with(&bucket.put_object(Some(&credentials), "object"), wrong, "abc").await;
    assert_eq!(refusal(response).await, (400, "BadDigest".to_owned()));
    assert_eq!(server.sim.list_objects(BUCKET, "").expect("a bucket"), []);
}

#[tokio::test]
async fn a_bucket_can_be_a_label_of_the_servers_host() {
    let server = Server::start().await;
    server.sim.set_domain("oss.lab");
    server.put("dir/object", "abc").await;
    let address = server.endpoint.strip_prefix("http://").expect("a URL").parse().expect("an address");
    let http = reqwest::Client::builder()
        .no_proxy()
        .resolve("demo-bucket.oss.lab", address)
        .build()
        .expect("a client");
    let endpoint = format!("http://oss.lab:{}", address.port()).parse().expect("a URL");
    let bucket = Bucket::new(endpoint, UrlStyle::VirtualHost, BUCKET, "lab").expect("a bucket");
    let credentials = Credentials::new(common::ID, common::SECRET);
    let url = bucket.get_object(Some(&credentials), "dir/object").sign(Duration::from_mins(5));
    assert_eq!(url.host_str(), Some("demo-bucket.oss.lab"));
    let response = http.get(url).send().await.expect("an answer");
    assert_eq!(response.text().await.expect("a body"), "abc");
    let last = server.journal.entries().pop().expect("an entry");
    assert_eq!((last.kind.as_str(), last.subject.as_str()), ("GetObject", "demo-bucket/dir/object"));
}

#[tokio::test]
async fn listings_have_pages_prefixes_and_encoded_names() {
    let server = Server::start().await;
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    for key in ["a", "dir/", "dir/b c", "dir/d&e", "z\u{1}"] {
        server.put(key, "x").await;
    }
    let mut names = Vec::new();
    let mut token = None;
    loop {
        let mut action = bucket.list_objects_v2(Some(&credentials));
        action.with_max_keys(2);
        if let Some(token) = &token {
            action.with_continuation_token(token);
        }
        let body = server.send(&action, "").await.text().await.expect("a body");
        let page = rusty_s3::actions::ListObjectsV2::parse_response(&body).expect("a listing");
        names.extend(page.contents.into_iter().map(|object| object.key));
        token = page.next_continuation_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a", "dir/", "dir/b%20c", "dir/d%26e", "z%01"], "this client asks for encoded names");

    let mut action = bucket.list_objects_v2(Some(&credentials));
    action.with_delimiter("/");
    let body = server.send(&action, "").await.text().await.expect("a body");
    let page = rusty_s3::actions::ListObjectsV2::parse_response(&body).expect("a listing");
    let prefixes: Vec<_> = page.common_prefixes.into_iter().map(|prefix| prefix.prefix).collect();
    assert_eq!(prefixes, ["dir/"]);
    assert_eq!(page.contents.len(), 2);
}
