//! The server: keys, buckets and faults on one side, listeners on the other.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use clock::SharedClock;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use journal::Journal;
use lab::OssFault;
use s3s::S3Result;
use s3s::checksum::ChecksumHasher;
use s3s::host::{S3Host, VirtualHost};
use s3s::service::S3ServiceBuilder;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::access::{Access, Keys};
use crate::backend::Backend;
use crate::fault::{FaultError, FaultId, Faults};
use crate::operation::bucket_of_host;
use crate::service::{Domain, IDLE, Service};
use crate::store::{Description, Object, Store, StoreError};

/// How long to wait after a connection could not be accepted.
const RETRY: Duration = Duration::from_millis(50);

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct OssOptions {
    /// Dates objects.
    pub clock: SharedClock,
    /// Gets an entry for every request and every fault.
    pub journal: Option<Journal>,
    /// Where the bytes of larger objects are kept: a directory of the server's own that exists and is empty.
    pub directory: PathBuf,
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectSummary {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its `ETag`, without quotes.
    pub etag: String,
    /// When it was written.
    pub modified: Timestamp,
}

/// An S3 server; clones are the same server, which stops when the last of them is dropped.
#[derive(Clone)]
pub struct OssSim {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    keys: Keys,
    faults: Faults,
    journal: Option<Journal>,
    domain: Domain,
    service: Service,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl fmt::Debug for OssSim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OssSim").field("keys", &self.inner.keys).finish_non_exhaustive()
    }
}

impl OssSim {
    /// A server without keys, buckets and listeners.
    pub fn new(options: OssOptions) -> Self {
        let store = Arc::new(Store::new(options.clock, options.directory));
        let keys = Keys::default();
        let faults = Faults::new(options.journal.clone());
        let domain = Domain::default();
        let mut builder = S3ServiceBuilder::new(Backend { store: store.clone(), keys: keys.clone() });
        builder.set_auth(keys.clone());
        builder.set_access(keys.clone());
        builder.set_host(Host(domain.clone()));
        let service = Service {
            s3: builder.build(),
            faults: faults.clone(),
            journal: options.journal.clone(),
            domain: domain.clone(),
        };
        let stop = CancellationToken::new();
        let stop_on_drop = stop.clone().drop_guard();
        let tasks = TaskTracker::new();
        let journal = options.journal;
        let inner =
            Inner { store, keys, faults, journal, domain, service, tasks, stop, _stop_on_drop: stop_on_drop };
        Self { inner: Arc::new(inner) }
    }

    /// Adds an AccessKey, or gives a known id another secret and other rights. The journal guards both from now
    /// on.
    pub fn add_key(&self, id: &str, secret: &str, access: Access) {
        if let Some(journal) = &self.inner.journal {
            journal.guard(id);
            journal.guard(secret);
        }
        self.inner.keys.add(id, secret, access);
    }

    /// Forgets an AccessKey: requests signed with it get 403 `InvalidAccessKeyId` from now on.
    pub fn remove_key(&self, id: &str) {
        self.inner.keys.remove(id);
    }

    /// Also answers requests that name the bucket as a label of the host: `BUCKET.domain`. Requests to any other
    /// host name the bucket in the path.
    pub fn set_domain(&self, domain: &str) {
        *self.inner.domain.write().unwrap_or_else(PoisonError::into_inner) = Some(domain.to_owned());
    }

    /// Limits the bytes of all objects and open uploads together; `None` lifts the limit. What doesn't fit is
    /// answered with 403 `QuotaExceeded`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner.store.set_capacity(bytes);
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// [`StoreError::BucketExists`], or [`StoreError::InvalidBucketName`].
    pub fn create_bucket(&self, name: &str) -> Result<(), StoreError> {
        if !s3s::path::check_bucket_name(name) {
            return Err(StoreError::InvalidBucketName(name.to_owned()));
        }
        self.inner.store.create_bucket(name)
    }

    /// Removes an empty bucket.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`] or [`StoreError::BucketNotEmpty`].
    pub fn delete_bucket(&self, name: &str) -> Result<(), StoreError> {
        self.inner.store.delete_bucket(name)
    }

    /// Stores an object, without a request and out of the reach of faults.
    ///
    /// # Errors
    /// [`StoreError`] for a missing bucket, a full server, or files that can't be written.
    pub async fn put_object(
        &self,
        bucket: &str,
        key: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<(), StoreError> {
        let store = &self.inner.store;
        let mut writer = store.writer(ChecksumHasher::default());
        writer.push(bytes.into()).await?;
        let written = writer.finish().await?;
        let object = Object {
            content: written.content,
            etag: hex::encode(written.md5),
            modified: store.now(),
            description: Description::default(),
            parts: Vec::new(),
        };
        store.put(bucket, key, object, |_| Ok(())).map(drop)
    }

    /// The bytes of an object, all in memory.
    ///
    /// # Errors
    /// [`StoreError`] for a missing bucket or key, or files that can't be read.
    pub async fn get_object(&self, bucket: &str, key: &str) -> Result<Bytes, StoreError> {
        let object = self.inner.store.lock().object(bucket, key)?;
        Ok(object.content.read_all().await?)
    }

    /// The objects of a bucket whose keys start with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`].
    pub fn list_objects(&self, bucket: &str, prefix: &str) -> Result<Vec<ObjectSummary>, StoreError> {
        let state = self.inner.store.lock();
        let objects = state.bucket(bucket)?.objects.range(prefix.to_owned()..);
        Ok(objects
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, object)| ObjectSummary {
                key: key.clone(),
                size: object.size(),
                etag: object.etag.clone(),
                modified: object.modified,
            })
            .collect())
    }

    /// Removes an object; one that is not there is no error.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`].
    pub fn delete_object(&self, bucket: &str, key: &str) -> Result<(), StoreError> {
        self.inner.store.delete(bucket, key)
    }

    /// Starts a fault. It lasts until it is healed or has struck as often as it says.
    ///
    /// # Errors
    /// [`FaultError`] for a fault that makes no sense.
    pub fn inject(&self, fault: OssFault) -> Result<FaultId, FaultError> {
        self.inner.faults.inject(fault)
    }

    /// Ends a fault, and lets go of the requests that it holds back.
    ///
    /// # Errors
    /// [`FaultError::NotFound`] for a fault that is not in force.
    pub fn heal(&self, fault: FaultId) -> Result<(), FaultError> {
        self.inner.faults.heal(fault)
    }

    /// Answers requests that come to `listener`, in tasks of the present runtime, until [`Self::shutdown`]. Any
    /// number of listeners can be served at once.
    pub fn serve(&self, listener: TcpListener) {
        let service = self.inner.service.clone();
        let stop = self.inner.stop.clone();
        let tasks = self.inner.tasks.clone();
        self.inner.tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stop.cancelled() => return,
                };
                match accepted {
                    Ok((stream, _)) => {
                        tasks
                            .spawn(stop.clone().run_until_cancelled_owned(converse(service.clone(), stream)));
                    }
                    // such as a connection that was reset at once, or no free file descriptor: others may do better
                    Err(error) => {
                        tracing::warn!(%error, "connection not accepted");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        });
    }

    /// Closes every listener and connection, and returns once that is done.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

/// Answers the requests of one connection.
async fn converse(service: Service, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection without TCP_NODELAY");
    }
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { service.call(request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(1024 * 1024)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended early");
    }
}

/// Finds the bucket in the `Host` header, once the server has a domain.
struct Host(Arc<RwLock<Option<String>>>);

impl S3Host for Host {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let domain = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let bucket = domain.as_deref().and_then(|domain| bucket_of_host(host, domain));
        let parsed = VirtualHost::new(host);
        Ok(bucket.map_or_else(|| VirtualHost::new(host), |bucket| parsed.with_bucket(bucket)))
    }
}
