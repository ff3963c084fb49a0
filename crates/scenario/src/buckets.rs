//! The object store as an S3 client outside the lab uses it.

use std::time::Duration;

use clock::SharedClock;
use lab::ObjectStore;
use reqwest::{Client, Method, Url};
use rusty_s3::actions::{CreateBucket, DeleteObject, GetObject, ListObjectsV2, PutObject, S3Action as _};
use rusty_s3::{Bucket, Credentials, UrlStyle};

/// How long a signed request is good for. A scenario may move the lab's clock, so it is long.
const SIGNED_FOR: Duration = Duration::from_secs(24 * 3600);

/// A request to the object store that had no answer.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The endpoint or the bucket's name can't be part of a URL.
    #[error("bucket {bucket} at {endpoint} can't be addressed: {reason}")]
    Address {
        /// The bucket's name.
        bucket: String,
        /// The endpoint.
        endpoint: String,
        /// Why not.
        reason: String,
    },
    /// No answer.
    #[error("{operation} got no answer from the object store")]
    Transport {
        /// What was asked.
        operation: String,
        /// Why there was no answer.
        #[source]
        source: reqwest::Error,
    },
    /// A refusal.
    #[error("the object store refused to {operation}: {code}: {message}")]
    Refused {
        /// What was asked.
        operation: String,
        /// S3's error code.
        code: String,
        /// S3's message.
        message: String,
    },
    /// An answer that isn't S3's.
    #[error("the object store's answer to {operation} can't be read: {reason}")]
    Malformed {
        /// What was asked.
        operation: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// An answer of the object store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BucketAnswer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// S3's error code and message, of an error.
    pub(crate) error: Option<(String, String)>,
}

/// Makes a bucket in a lab's object store, with the lab's own key.
///
/// # Errors
/// [`BucketError`] when the store can't be reached or refuses, with its code.
pub async fn create_bucket(store: &ObjectStore, bucket: &str, clock: SharedClock) -> Result<(), BucketError> {
    let answer = Buckets::new(store, clock)?.create(bucket).await?;
    match answer.error {
        None if answer.status < 300 => Ok(()),
        error => {
            let (code, message) =
                error.unwrap_or_else(|| (answer.status.to_string(), "no message".to_owned()));
            Err(BucketError::Refused { operation: format!("create bucket {bucket}"), code, message })
        }
    }
}

/// A client with the lab's own key.
pub(crate) struct Buckets {
    http: Client,
    store: ObjectStore,
    credentials: Credentials,
    clock: SharedClock,
}

impl Buckets {
    pub(crate) fn new(store: &ObjectStore, clock: SharedClock) -> Result<Self, BucketError> {
        let http = Client::builder()
            .no_proxy()
            .build()
            .map_err(|source| BucketError::Transport { operation: "making a client".into(), source })?;
        let credentials = Credentials::new(&store.access_key_id, &store.access_key_secret);
        Ok(Self { http, store: store.clone(), credentials, clock })
    }

    pub(crate) async fn create(&self, bucket: &str) -> Result<BucketAnswer, BucketError> {
        let operation = format!("create bucket {bucket}");
        let bucket = self.bucket(bucket)?;
        let action = CreateBucket::new(&bucket, &self.credentials);
        let url = action.sign_with_time(SIGNED_FOR, &self.clock.now());
        self.send(operation, Method::PUT, url, None).await
    }

    pub(crate) async fn put(
        &self,
        bucket: &str,
        key: &str,
        content: Vec<u8>,
    ) -> Result<BucketAnswer, BucketError> {
        let bucket = self.bucket(bucket)?;
        let action = PutObject::new(&bucket, Some(&self.credentials), key);
        let url = action.sign_with_time(SIGNED_FOR, &self.clock.now());
        self.send(format!("put {key}"), Method::PUT, url, Some(content)).await
    }

    pub(crate) async fn get(&self, bucket: &str, key: &str) -> Result<BucketAnswer, BucketError> {
        let bucket = self.bucket(bucket)?;
        let action = GetObject::new(&bucket, Some(&self.credentials), key);
        let url = action.sign_with_time(SIGNED_FOR, &self.clock.now());
        self.send(format!("get {key}"), Method::GET, url, None).await
    }

    pub(crate) async fn delete(&self, bucket: &str, key: &str) -> Result<BucketAnswer, BucketError> {
        let bucket = self.bucket(bucket)?;
        let action = DeleteObject::new(&bucket, Some(&self.credentials), key);
        let url = action.sign_with_time(SIGNED_FOR, &self.clock.now());
        self.send(format!("delete {key}"), Method::DELETE, url, None).await
    }

    /// Every key that begins with `prefix`, page by page; the keys are absent when the answer is an error.
    pub(crate) async fn list(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<(BucketAnswer, Option<Vec<String>>), BucketError> {
        let bucket = self.bucket(bucket)?;
        let operation = format!("list {prefix}");
        let mut keys = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut action = ListObjectsV2::new(&bucket, Some(&self.credentials));
            action.with_prefix(prefix);
            if let Some(token) = &token {
                action.with_continuation_token(token.as_str());
            }
            let url = action.sign_with_time(SIGNED_FOR, &self.clock.now());
            let answer = self.send(operation.clone(), Method::GET, url, None).await?;
            if answer.error.is_some() {
                return Ok((answer, None));
            }
            let page = ListObjectsV2::parse_response(&answer.body).map_err(|error| {
                BucketError::Malformed { operation: operation.clone(), reason: error.to_string() }
            })?;
            for object in page.contents {
                keys.push(ObjectStore::listed_key(&object.key).map_err(|error| BucketError::Malformed {
                    operation: operation.clone(),
                    reason: format!("key {}: {error}", object.key),
                })?);
            }
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok((answer, Some(keys)));
            }
        }
    }

    fn bucket(&self, name: &str) -> Result<Bucket, BucketError> {
        let endpoint = &self.store.outside_endpoint;
        let bad = |reason: String| BucketError::Address {
            bucket: name.to_owned(),
            endpoint: endpoint.clone(),
            reason,
        };
        let url = Url::parse(endpoint).map_err(|error| bad(error.to_string()))?;
        let name = format!("{}{name}", self.store.bucket_prefix);
        Bucket::new(url, UrlStyle::Path, name, self.store.region.clone())
            .map_err(|error| bad(error.to_string()))
    }

    async fn send(
        &self,
        operation: String,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<BucketAnswer, BucketError> {
        let request =
            self.http.request(method, url).timeout(Duration::from_secs(30)).body(body.unwrap_or_default());
        // The URL holds the signature.
        let failed = |source: reqwest::Error| BucketError::Transport {
            operation: operation.clone(),
            source: source.without_url(),
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(failed)?.to_vec();
        let error = (status >= 300).then(|| s3_error(&body));
        Ok(BucketAnswer { status, body, error })
    }
}

/// `Code` and `Message` of S3's error document.
fn s3_error(body: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(body);
    let member = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(value, _)| value.to_owned())
    };
    (member("Code").unwrap_or_default(), member("Message").unwrap_or_default())
}
