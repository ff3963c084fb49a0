//! Buckets, objects and uploads: names and metadata in memory, bytes in [`blob`]s.
//!
//! ```text
//! Writer ──bytes──► Blob ◄── Content (ranges of blobs) ◄── Object ◄── Bucket
//!                                         ▲
//!                                         └── parts of an upload
//! ```

mod blob;
mod buffers;
mod content;
mod error;
mod listing;
mod multipart;
mod object;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clock::SharedClock;
use jiff::Timestamp;
use s3s::checksum::ChecksumHasher;

pub(crate) use blob::Blobs;
pub(crate) use content::Content;
pub use error::StoreError;
pub(crate) use listing::{Item, Query, list};
pub(crate) use multipart::{ListedPart, Part, Upload};
pub(crate) use object::{Description, Object};
pub(crate) use writer::{Writer, Written};

/// Everything that is stored.
#[derive(Debug)]
pub(crate) struct Store {
    clock: SharedClock,
    blobs: Arc<Blobs>,
    state: Mutex<State>,
}

/// What the lock protects.
#[derive(Debug, Default)]
pub(crate) struct State {
    buckets: BTreeMap<String, Bucket>,
    capacity: Option<u64>,
}

/// A bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) created: Timestamp,
    pub(crate) objects: BTreeMap<String, Arc<Object>>,
    pub(crate) uploads: BTreeMap<String, Upload>,
}

impl State {
    pub(crate) fn bucket(&self, name: &str) -> Result<&Bucket, StoreError> {
        self.buckets.get(name).ok_or_else(|| StoreError::NoSuchBucket(name.to_owned()))
    }

    pub(crate) fn bucket_mut(&mut self, name: &str) -> Result<&mut Bucket, StoreError> {
        self.buckets.get_mut(name).ok_or_else(|| StoreError::NoSuchBucket(name.to_owned()))
    }

    pub(crate) fn buckets(&self) -> &BTreeMap<String, Bucket> {
        &self.buckets
    }

    pub(crate) fn object(&self, bucket: &str, key: &str) -> Result<Arc<Object>, StoreError> {
        let object = self.bucket(bucket)?.objects.get(key).cloned();
        object.ok_or_else(|| StoreError::NoSuchKey { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// Bytes of all objects and of the parts of all open uploads.
    fn used(&self) -> u64 {
        self.buckets.values().map(Bucket::used).sum()
    }

    /// Whether `needed` more bytes fit once `freed` bytes are gone.
    fn check_capacity(&self, needed: u64, freed: u64) -> Result<(), StoreError> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        let used = self.used().saturating_sub(freed);
        if used.saturating_add(needed) > capacity {
            return Err(StoreError::Full { needed, used, capacity });
        }
        Ok(())
    }
}

impl Bucket {
    fn used(&self) -> u64 {
        let objects: u64 = self.objects.values().map(|object| object.size()).sum();
        let parts: u64 = self.uploads.values().map(Upload::used).sum();
        objects + parts
    }
}

impl Store {
    pub(crate) fn new(clock: SharedClock, directory: PathBuf) -> Self {
        Self { clock, blobs: Arc::new(Blobs::new(directory)), state: Mutex::default() }
    }

    /// The state, for as long as the guard lives; never hold it across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present, to the millisecond that a listing shows.
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    /// A writer for new bytes.
    pub(crate) fn writer(&self, checksums: ChecksumHasher) -> Writer {
        Writer::new(self.blobs.clone(), checksums)
    }

    /// Limits the bytes of all objects and open uploads together; `None` lifts the limit.
    pub(crate) fn set_capacity(&self, capacity: Option<u64>) {
        self.lock().capacity = capacity;
    }

    pub(crate) fn create_bucket(&self, name: &str) -> Result<(), StoreError> {
        let created = self.now();
        let mut state = self.lock();
        if state.buckets.contains_key(name) {
            return Err(StoreError::BucketExists(name.to_owned()));
        }
        let bucket = Bucket { created, objects: BTreeMap::new(), uploads: BTreeMap::new() };
        state.buckets.insert(name.to_owned(), bucket);
        Ok(())
    }

    pub(crate) fn delete_bucket(&self, name: &str) -> Result<(), StoreError> {
        let mut state = self.lock();
        if !state.bucket(name)?.objects.is_empty() {
            return Err(StoreError::BucketNotEmpty(name.to_owned()));
        }
        state.buckets.remove(name);
        Ok(())
    }

    /// Refuses early what could not be stored anyway: a missing bucket, or more bytes than fit.
    pub(crate) fn check_room(&self, bucket: &str, key: &str, length: u64) -> Result<(), StoreError> {
        let state = self.lock();
        let freed = state.bucket(bucket)?.objects.get(key).map_or(0, |object| object.size());
        state.check_capacity(length, freed)
    }

    /// Puts an object in the place of whatever has its key, if `condition` holds for that.
    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        object: Object,
        condition: impl FnOnce(Option<&Object>) -> Result<(), StoreError>,
    ) -> Result<Arc<Object>, StoreError> {
        let object = Arc::new(object);
        let mut state = self.lock();
        let present = state.bucket(bucket)?.objects.get(key).cloned();
        condition(present.as_deref())?;
        state.check_capacity(object.size(), present.as_ref().map_or(0, |present| present.size()))?;
        state.bucket_mut(bucket)?.objects.insert(key.to_owned(), object.clone());
        drop(state);
        // the old object, and with it perhaps a file, goes outside of the lock
        drop(present);
        Ok(object)
    }

    /// Removes an object; one that is not there is no error.
    pub(crate) fn delete(&self, bucket: &str, key: &str) -> Result<(), StoreError> {
        let removed = self.lock().bucket_mut(bucket)?.objects.remove(key);
        drop(removed);
        Ok(())
    }
}
