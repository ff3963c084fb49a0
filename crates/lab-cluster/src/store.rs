//! Removing the buckets that scenarios made in somebody's object store.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clock::SharedClock;
use lab::ObjectStore;
use reqwest::{Client, Method, Url};
use rusty_s3::actions::{DeleteBucket, DeleteObject, ListObjectsV2, S3Action as _};
use rusty_s3::{Bucket, Credentials, UrlStyle};

use crate::access::StoreOptions;

/// How long a signed request is good for.
const SIGNED_FOR: Duration = Duration::from_secs(3600);
/// Limit of one request.
const LIMIT: Duration = Duration::from_secs(30);

/// Why a bucket is still there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The endpoint can't be used.
    #[error("bucket {bucket} at {endpoint} can't be addressed: {reason}")]
    Address { bucket: String, endpoint: String, reason: String },
    /// No answer.
    #[error("{action} got no answer from the object store")]
    Transport {
        action: String,
        #[source]
        source: reqwest::Error,
    },
    /// A refusal.
    #[error("{action} was refused with status {status}")]
    Refused { action: String, status: u16 },
    /// A listing that can't be read.
    #[error("the listing of bucket {bucket} can't be read: {reason}")]
    Malformed { bucket: String, reason: String },
}

/// The buckets that the lab's scenario made, by the store's names.
pub(crate) struct Buckets {
    store: StoreOptions,
    clock: SharedClock,
    made: Mutex<BTreeSet<String>>,
}

impl Buckets {
    pub(crate) fn new(store: &StoreOptions, clock: SharedClock) -> Self {
        Self { store: store.clone(), clock, made: Mutex::default() }
    }

    /// Notes that a bucket was made.
    pub(crate) fn note(&self, bucket: String) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(bucket);
    }

    /// Empties and removes every bucket that was made.
    pub(crate) async fn remove(&self) -> Result<(), StoreError> {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        if made.is_empty() {
            return Ok(());
        }
        let http = Client::builder()
            .no_proxy()
            .build()
            .map_err(|source| StoreError::Transport { action: "making a client".to_owned(), source })?;
        for name in made {
            self.remove_one(&http, &name).await?;
        }
        Ok(())
    }

    async fn remove_one(&self, http: &Client, name: &str) -> Result<(), StoreError> {
        let wrong = |reason: String| StoreError::Address {
            bucket: name.to_owned(),
            endpoint: self.store.outside_endpoint.clone(),
            reason,
        };
        let url = Url::parse(&self.store.outside_endpoint).map_err(|error| wrong(error.to_string()))?;
        let bucket = Bucket::new(url, UrlStyle::Path, name.to_owned(), self.store.region.clone())
            .map_err(|error| wrong(error.to_string()))?;
        let credentials = Credentials::new(&self.store.access_key_id, &self.store.access_key_secret);
        let mut last = Vec::new();
        loop {
            let list = ListObjectsV2::new(&bucket, Some(&credentials));
            let url = list.sign_with_time(SIGNED_FOR, &self.clock.now());
            let Some(body) = send(http, format!("list bucket {name}"), Method::GET, url).await? else {
                return Ok(());
            };
            let page = ListObjectsV2::parse_response(&body).map_err(|error| StoreError::Malformed {
                bucket: name.to_owned(),
                reason: error.to_string(),
            })?;
            if page.contents.is_empty() {
                break;
            }
            let keys = page.contents.iter().map(|object| ObjectStore::listed_key(&object.key));
            let keys: Vec<String> = keys.collect::<Result<_, _>>().map_err(|error| {
                StoreError::Malformed { bucket: name.to_owned(), reason: error.to_string() }
            })?;
            if keys == last {
                let reason = "it still names objects that were deleted".to_owned();
                return Err(StoreError::Malformed { bucket: name.to_owned(), reason });
            }
            for key in &keys {
                let delete = DeleteObject::new(&bucket, Some(&credentials), key);
                let url = delete.sign_with_time(SIGNED_FOR, &self.clock.now());
                send(http, format!("delete {name}/{key}"), Method::DELETE, url).await?;
            }
            last = keys;
        }
        let delete = DeleteBucket::new(&bucket, &credentials);
        let url = delete.sign_with_time(SIGNED_FOR, &self.clock.now());
        send(http, format!("delete bucket {name}"), Method::DELETE, url).await.map(drop)
    }
}

/// The answer's body; nothing when what was meant isn't there.
async fn send(
    http: &Client,
    action: String,
    method: Method,
    url: Url,
) -> Result<Option<Vec<u8>>, StoreError> {
    // The URL holds the signature.
    let failed = |source: reqwest::Error| StoreError::Transport {
        action: action.clone(),
        source: source.without_url(),
    };
    let response = http.request(method, url).timeout(LIMIT).send().await.map_err(failed)?;
    let status = response.status().as_u16();
    if status == 404 {
        return Ok(None);
    }
    if status >= 300 {
        return Err(StoreError::Refused { action, status });
    }
    Ok(Some(response.bytes().await.map_err(failed)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use clock::SystemClock;
    use wiremock::matchers::{method, path, path_regex};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    #[tokio::test]
    async fn a_store_that_keeps_its_objects_is_given_up() {
        let server = MockServer::start().await;
        let listing = "<ListBucketResult><Contents><ETag>e</ETag><Key>a+b</Key><LastModified>l</LastModified>\
                       <Size>1</Size></Contents></ListBucketResult>";
        Mock::given(method("GET"))
            .and(path_regex("^/demo/?$"))
            .respond_with(ResponseTemplate::new(200).set_body_string(listing))
            .mount(&server)
            .await;
        Mock::given(method("DELETE"))
            .and(path("/demo/a%20b"))
            .respond_with(ResponseTemplate::new(204))
            .expect(1)
            .mount(&server)
            .await;
        let store = StoreOptions {
            inside_endpoint: server.uri(),
            outside_endpoint: server.uri(),
            region: "r".to_owned(),
            access_key_id: "id".to_owned(),
            access_key_secret: "secret".to_owned(),
        };
        let buckets = Buckets::new(&store, SystemClock::shared());
        buckets.note("demo".to_owned());
        let error = buckets.remove().await.expect_err("it is still there");
        assert!(error.to_string().contains("still names objects that were deleted"), "{error}");
    }
}
