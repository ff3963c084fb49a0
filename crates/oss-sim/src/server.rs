//! The server: keys, buckets and faults on one side, listeners on the other.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use clock::SharedClock;
use jiff::Timestamp;
use journal::Journal;
use lab::OssFault;
use s3s::S3Result;
use s3s::checksum::ChecksumHasher;
use s3s::host::{S3Host, VirtualHost};
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::access::{Access, Keys};
use crate::backend::Backend;
use crate::door::{Door, Doors};
use crate::fault::{FaultError, FaultId, Faults};
use crate::operation::bucket_of_host;
use crate::service::{Domain, Service};
use crate::store::{Description, Object, Store, StoreError};

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

pub(crate) struct Inner {
    store: Arc<Store>,
    keys: Keys,
    faults: Faults,
    journal: Option<Journal>,
    domain: Domain,
    pub(crate) service: Service,
    pub(crate) doors: Doors,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
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
        let inner = Inner {
            store,
            keys,
            doors: Doors::new(&faults),
            faults,
            journal,
            domain,
            service,
            tasks,
            stop,
            _stop_on_drop: stop_on_drop,
        };
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
        let listener = match listener.into_std().and_then(lab::Listener::new) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a listener can't be served"),
        };
        let door = Door::new(listener, &self.inner);
        self.inner.tasks.spawn(self.inner.stop.clone().run_until_cancelled_owned(door.keep()));
    }

    /// Returns once every door is as the faults want it: shut while the server is gone, open otherwise.
    pub async fn settled(&self) {
        self.inner.doors.settled().await;
    }

    /// Closes every listener and connection, and returns once that is done.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
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
