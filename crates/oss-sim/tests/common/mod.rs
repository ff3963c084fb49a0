//! A server on a port of its own, and a client that signs like any other S3 client.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]
#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use clock::SystemClock;
use journal::Journal;
use oss_sim::{Access, OssOptions, OssSim};
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

pub const ID: &str = "AKIDLABTEST0001";
pub const SECRET: &str = "SECRETLABTEST0001-abcdefgh";
pub const BUCKET: &str = "demo-bucket";

/// How long one request may take in a test.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// How long presigned requests stay valid.
const VALID: Duration = Duration::from_mins(5);

/// A server with one key and one bucket.
pub struct Server {
    pub sim: OssSim,
    pub journal: Journal,
    pub endpoint: String,
    pub http: reqwest::Client,
    pub directory: tempfile::TempDir,
    credentials: Credentials,
}

impl Server {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = SystemClock::shared();
        let journal = Journal::new(clock.clone());
        let options =
            OssOptions { clock, journal: Some(journal.clone()), directory: directory.path().to_owned() };
        let sim = OssSim::new(options);
        sim.add_key(ID, SECRET, Access::Full);
        sim.create_bucket(BUCKET).expect("a new bucket");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        sim.serve(listener);
        let http = reqwest::Client::builder().no_proxy().timeout(REQUEST_LIMIT).build().expect("a client");
        Self { sim, journal, endpoint, http, directory, credentials: Credentials::new(ID, SECRET) }
    }

    pub fn bucket(&self, name: &str) -> Bucket {
        let endpoint = self.endpoint.parse().expect("a URL");
        Bucket::new(endpoint, UrlStyle::Path, name.to_owned(), "lab").expect("a bucket")
    }

    pub fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }

    /// Sends a signed request.
    pub async fn send<'a>(&self, action: &impl S3Action<'a>, body: impl Into<reqwest::Body>) -> Response {
        self.send_with(action, HeaderMap::new(), body).await
    }

    /// Sends a signed request with additional headers.
    pub async fn send_with<'a, A: S3Action<'a>>(
        &self,
        action: &A,
        headers: HeaderMap,
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let request = self.http.request(method::<A>(), action.sign(VALID)).headers(headers).body(body);
        request.send().await.expect("an answer")
    }

    /// Stores an object over HTTP and returns its `ETag`.
    pub async fn put(&self, key: &str, body: impl Into<reqwest::Body>) -> String {
        let (bucket, credentials) = (self.bucket(BUCKET), self.credentials());
        let response = self.send(&bucket.put_object(Some(&credentials), key), body).await;
        assert_eq!(response.status(), StatusCode::OK);
        header(&response, "etag")
    }

    /// Gets an object over HTTP.
    pub async fn get(&self, key: &str) -> Response {
        self.get_with(key, HeaderMap::new()).await
    }

    /// Gets an object over HTTP with additional headers.
    pub async fn get_with(&self, key: &str, headers: HeaderMap) -> Response {
        let (bucket, credentials) = (self.bucket(BUCKET), self.credentials());
        self.send_with(&bucket.get_object(Some(&credentials), key), headers, "").await
    }
}

fn method<'a, A: S3Action<'a>>() -> reqwest::Method {
    match A::METHOD {
        rusty_s3::Method::Head => reqwest::Method::HEAD,
        rusty_s3::Method::Get => reqwest::Method::GET,
        rusty_s3::Method::Post => reqwest::Method::POST,
        rusty_s3::Method::Put => reqwest::Method::PUT,
        rusty_s3::Method::Delete => reqwest::Method::DELETE,
    }
}

/// A header of an answer, empty when it is absent.
pub fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name);
    value.map(|value| value.to_str().expect("a text").to_owned()).unwrap_or_default()
}

/// Headers from pairs.
pub fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect()
}

/// Status and S3 error code of an answer.
pub async fn refusal(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.text().await.expect("a body");
    let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    (status, code.map(|(code, _)| code.to_owned()).unwrap_or(body))
}

/// `length` bytes that differ from place to place.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| u8::try_from(index.wrapping_mul(31).wrapping_add(index >> 8) % 251).expect("a byte"))
        .collect()
}
