//! Requests that S3 refuses, and how (`storage.md` §6.3).

mod common;

use common::{BUCKET, ID, SECRET, Server, pattern, refusal};
use oss_sim::{Access, Permission};
use rstest::rstest;
use rusty_s3::Credentials;

#[rstest]
#[case::unknown_id("AKIDUNKNOWN", SECRET, (403, "InvalidAccessKeyId"))]
#[case::wrong_secret(ID, "another secret", (403, "SignatureDoesNotMatch"))]
#[tokio::test]
async fn wrong_keys(#[case] id: &str, #[case] secret: &str, #[case] expected: (u16, &str)) {
    let server = Server::start().await;
    let credentials = Credentials::new(id, secret);
    let bucket = server.bucket(BUCKET);
    let list = server.send(&bucket.list_objects_v2(Some(&credentials)), "").await;
    assert_eq!(refusal(list).await, (expected.0, expected.1.to_owned()));
    let head = server.send(&bucket.head_bucket(Some(&credentials)), "").await;
    assert_eq!(head.status(), expected.0);
    let put = server.send(&bucket.put_object(Some(&credentials), "object"), pattern(3_000_000)).await;
    assert_eq!(refusal(put).await, (expected.0, expected.1.to_owned()));
}

#[tokio::test]
async fn unsigned_requests_are_denied() {
    let server = Server::start().await;
    let response =
        server.http.get(format!("{}/{BUCKET}/object", server.endpoint)).send().await.expect("an answer");
    assert_eq!(refusal(response).await, (403, "AccessDenied".to_owned()));
}

#[tokio::test]
async fn a_missing_bucket_is_404_for_every_operation() {
    let server = Server::start().await;
    let credentials = server.credentials();
    let bucket = server.bucket("no-such-bucket");
    let expected = (404, "NoSuchBucket".to_owned());
    assert_eq!(refusal(server.send(&bucket.list_objects_v2(Some(&credentials)), "").await).await, expected);
    assert_eq!(refusal(server.send(&bucket.get_object(Some(&credentials), "x"), "").await).await, expected);
    assert_eq!(refusal(server.send(&bucket.put_object(Some(&credentials), "x"), "y").await).await, expected);
    assert_eq!(
        refusal(server.send(&bucket.delete_object(Some(&credentials), "x"), "").await).await,
        expected
    );
    assert_eq!(server.send(&bucket.head_bucket(Some(&credentials)), "").await.status(), 404);
}

#[tokio::test]
async fn a_key_does_what_its_access_says_and_no_more() {
    let server = Server::start().await;
    server.put("object", "abc").await;
    server.sim.create_bucket("other-bucket").expect("a new bucket");
    server.sim.add_key("AKIDREADER", "reader-secret", Access::ReadOnly);
    server.sim.add_key("AKIDDENIED", "denied-secret", Access::Denied);
    let only = Access::Buckets([("other-bucket".to_owned(), Permission::Full)].into());
    server.sim.add_key("AKIDOTHER1", "other-secret", only);
    let denied = (403, "AccessDenied".to_owned());
    let bucket = server.bucket(BUCKET);

    let reader = Credentials::new("AKIDREADER", "reader-secret");
    assert_eq!(server.send(&bucket.get_object(Some(&reader), "object"), "").await.status(), 200);
    assert_eq!(server.send(&bucket.list_objects_v2(Some(&reader)), "").await.status(), 200);
    assert_eq!(refusal(server.send(&bucket.put_object(Some(&reader), "object"), "x").await).await, denied);
    assert_eq!(refusal(server.send(&bucket.delete_object(Some(&reader), "object"), "").await).await, denied);

    for (id, secret) in [("AKIDDENIED", "denied-secret"), ("AKIDOTHER1", "other-secret")] {
        let credentials = Credentials::new(id, secret);
        assert_eq!(refusal(server.send(&bucket.list_objects_v2(Some(&credentials)), "").await).await, denied);
        assert_eq!(server.send(&bucket.head_bucket(Some(&credentials)), "").await.status(), 403);
    }
    let other = Credentials::new("AKIDOTHER1", "other-secret");
    let put = server.bucket("other-bucket");
    assert_eq!(server.send(&put.put_object(Some(&other), "object"), "x").await.status(), 200);
    let stolen = common::headers(&[("x-amz-copy-source", "demo-bucket/object")]);
    let copy = server.send_with(&put.put_object(Some(&other), "stolen"), stolen, "").await;
    assert_eq!(refusal(copy).await, denied);

    server.sim.remove_key("AKIDREADER");
    let response = server.send(&bucket.get_object(Some(&reader), "object"), "").await;
    assert_eq!(refusal(response).await, (403, "InvalidAccessKeyId".to_owned()));
}

#[tokio::test]
async fn a_full_server_takes_no_more_bytes() {
    let server = Server::start().await;
    server.put("object", pattern(1000)).await;
    server.sim.set_capacity(Some(1500));
    let (bucket, credentials) = (server.bucket(BUCKET), server.credentials());
    let put = bucket.put_object(Some(&credentials), "more");
    assert_eq!(refusal(server.send(&put, pattern(501)).await).await, (403, "QuotaExceeded".to_owned()));
    assert_eq!(server.send(&put, pattern(500)).await.status(), 200);
    let replace = bucket.put_object(Some(&credentials), "object");
    assert_eq!(server.send(&replace, pattern(1000)).await.status(), 200);
    server.sim.set_capacity(None);
    assert_eq!(server.send(&put, pattern(5000)).await.status(), 200);
}

#[tokio::test]
async fn buckets_come_and_go() {
    let server = Server::start().await;
    let credentials = server.credentials();
    let bucket = server.bucket("new-bucket");
    assert_eq!(server.send(&bucket.create_bucket(&credentials), "").await.status(), 200);
    let again = server.send(&bucket.create_bucket(&credentials), "").await;
    assert_eq!(refusal(again).await, (409, "BucketAlreadyOwnedByYou".to_owned()));
    server.sim.put_object("new-bucket", "object", "x").await.expect("stored");
    let full = server.send(&bucket.delete_bucket(&credentials), "").await;
    assert_eq!(refusal(full).await, (409, "BucketNotEmpty".to_owned()));
    server.sim.delete_object("new-bucket", "object").expect("deleted");
    assert_eq!(server.send(&bucket.delete_bucket(&credentials), "").await.status(), 204);
    assert_eq!(server.send(&bucket.head_bucket(Some(&credentials)), "").await.status(), 404);
    assert!(server.sim.create_bucket("No Bucket").is_err());
}
