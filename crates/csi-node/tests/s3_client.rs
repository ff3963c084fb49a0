//! The S3 client against answers that a well-behaved server seldom gives.
#![allow(clippy::expect_used, reason = "test code: a failed expectation ends the test")]

use std::time::Duration;

use bytes::Bytes;
use clock::SystemClock;
use csi_node::s3::{Bucket, BucketOptions, Credentials, Endpoint, Limits, Metadata, Payload, S3Error};
use rstest::rstest;
use wiremock::matchers::{header, header_exists, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const ID: &str = "AKID-sentinel";
const SECRET: &str = "AKSECRET-sentinel";

fn bucket(server: &MockServer) -> Bucket {
    Bucket::new(BucketOptions {
        endpoint: Endpoint::new(&server.uri(), "data", None).expect("an endpoint"),
        credentials: Credentials::new(ID, SECRET),
        object_headers: vec![(
            http::HeaderName::from_static("x-amz-server-side-encryption"),
            http::HeaderValue::from_static("AES256"),
        )],
        limits: Limits { answer: Duration::from_millis(300), ..Limits::default() },
        clock: SystemClock::shared(),
    })
    .expect("a client")
}

fn error_document(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{SECRET}</Message>\
         <AWSAccessKeyId>{ID}</AWSAccessKeyId><StringToSign>{SECRET}</StringToSign></Error>"
    )
}

#[rstest]
#[case(403, "SignatureDoesNotMatch")]
#[case(404, "NoSuchBucket")]
#[case(400, "InvalidRequest")]
#[tokio::test]
async fn an_error_is_told_by_its_code_and_nothing_else(#[case] status: u16, #[case] code: &str) {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(status).set_body_string(error_document(code));
    Mock::given(method("GET")).respond_with(answer).expect(1).mount(&server).await;
    let error = bucket(&server).list("", false, 1, None).await.expect_err("refused");
    assert_eq!((error.status(), error.code()), (Some(status), Some(code)));
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("sentinel"), "{shown}");
}

#[tokio::test]
async fn requests_are_signed_in_headers_and_the_secret_is_never_sent() {
    let server = MockServer::start().await;
    Mock::given(method("PUT"))
        .and(path("/data/a%20b/%C3%BC"))
        .and(header_exists("authorization"))
        .and(header("x-amz-meta-mode", "33188"))
        .and(header("x-amz-server-side-encryption", "AES256"))
        .respond_with(ResponseTemplate::new(200).insert_header("etag", "\"e\""))
        .expect(1)
        .mount(&server)
        .await;
    let metadata: Metadata = [("mode".to_owned(), "33188".to_owned())].into();
    let payload = Payload::chunks(vec![Bytes::from("ab"), Bytes::new(), Bytes::from("c")]);
    let etag = bucket(&server).put("a b/ü", payload, "text/plain", &metadata).await.expect("put");
    assert_eq!(etag, "\"e\"");
    let requests = server.received_requests().await.expect("recorded");
    assert_eq!(requests[0].body, b"abc");
    assert!(!format!("{:?}", requests[0]).contains(SECRET));
    assert_eq!(requests[0].url.query(), None);
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(503).set_body_string(error_document("SlowDown"));
    Mock::given(method("PUT")).respond_with(busy).up_to_n_times(3).mount(&server).await;
    let done = ResponseTemplate::new(200).insert_header("etag", "\"e\"");
    Mock::given(method("PUT")).respond_with(done).expect(1).mount(&server).await;
    bucket(&server).put("k", Payload::default(), "", &Metadata::new()).await.expect("put in the end");
}

#[tokio::test]
async fn a_success_that_carries_an_error_is_an_error() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_string(error_document("InternalError"));
    Mock::given(method("PUT")).respond_with(answer).mount(&server).await;
    let error = bucket(&server).copy("a", "b", None).await.expect_err("refused");
    assert_eq!(error.code(), Some("InternalError"));
}

#[tokio::test]
async fn silence_ends_at_the_limit() {
    let server = MockServer::start().await;
    let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(5));
    Mock::given(method("GET")).respond_with(late).mount(&server).await;
    let limits = Limits { attempts: 2, answer: Duration::from_millis(50), ..Limits::default() };
    let error = bucket(&server).with_limits(limits).list("", false, 1, None).await.expect_err("no answer");
    assert!(matches!(error, S3Error::TimedOut { operation: "ListObjectsV2", .. }), "{error}");
}

#[tokio::test]
async fn a_listing_goes_on_where_it_ended() {
    let server = MockServer::start().await;
    let first = "<R><IsTruncated>true</IsTruncated><NextContinuationToken>t+/=</NextContinuationToken>\
        <Contents><Key>p/ a&amp;b </Key><Size>3</Size><ETag>&quot;e&quot;</ETag>\
        <LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents></R>";
    let second = "<R><CommonPrefixes><Prefix>p/d/</Prefix></CommonPrefixes></R>";
    Mock::given(query_param("continuation-token", "t+/="))
        .respond_with(ResponseTemplate::new(200).set_body_string(second))
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(query_param("prefix", "p/"))
        .and(query_param("delimiter", "/"))
        .respond_with(ResponseTemplate::new(200).set_body_string(first))
        .mount(&server)
        .await;
    let bucket = bucket(&server);
    let page = bucket.list("p/", true, 10, None).await.expect("listed");
    assert_eq!(page.objects[0].key, "p/ a&b ");
    assert_eq!((page.objects[0].size, page.objects[0].etag.as_str()), (3, "\"e\""));
    let rest = bucket.list("p/", true, 10, page.next.as_deref()).await.expect("listed");
    assert_eq!((rest.prefixes, rest.next), (vec!["p/d/".to_owned()], None));
}

#[tokio::test]
async fn a_missing_object_is_none_and_one_with_metadata_tells_it() {
    let server = MockServer::start().await;
    let there = ResponseTemplate::new(200)
        .insert_header("etag", "\"e\"")
        .insert_header("content-length", "0")
        .insert_header("last-modified", "Fri, 02 Jan 2026 03:04:05 GMT")
        .insert_header("x-amz-meta-mode", "420");
    Mock::given(path("/data/there")).respond_with(there).mount(&server).await;
    Mock::given(path("/data/missing")).respond_with(ResponseTemplate::new(404)).mount(&server).await;
    let bucket = bucket(&server);
    assert_eq!(bucket.head("missing").await.expect("answered"), None);
    let info = bucket.head("there").await.expect("answered").expect("there");
    assert_eq!(info.modified, "2026-01-02T03:04:05Z".parse().expect("a time"));
    assert_eq!(info.metadata.get("mode").map(String::as_str), Some("420"));
}
