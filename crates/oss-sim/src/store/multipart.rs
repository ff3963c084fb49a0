//! Multipart uploads: parts gathered under an id until they become an object.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use s3s::crypto::{Checksum as _, Md5};

use super::{Content, Description, Object, State, Store, StoreError};

/// The size that OSS asks of every part but the last: 100 KiB. (S3 asks for 5 MiB.)
const MINIMUM_PART: u64 = 100 * 1024;

/// An open multipart upload.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) key: String,
    pub(crate) initiated: Timestamp,
    pub(crate) description: Description,
    /// By part number.
    pub(crate) parts: BTreeMap<i32, Part>,
}

/// One uploaded part.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) content: Content,
    pub(crate) md5: [u8; 16],
    pub(crate) modified: Timestamp,
}

impl Part {
    /// The part's `ETag`, without quotes.
    pub(crate) fn etag(&self) -> String {
        hex::encode(self.md5)
    }
}

impl Upload {
    /// Bytes of all parts.
    pub(super) fn used(&self) -> u64 {
        self.parts.values().map(|part| part.content.length()).sum()
    }

    /// The parts that `listed` names, checked as S3 checks them.
    fn select(&self, listed: &[ListedPart]) -> Result<Vec<&Part>, StoreError> {
        let mut selected = Vec::with_capacity(listed.len());
        let mut highest = 0;
        for (index, ListedPart { number, etag }) in listed.iter().enumerate() {
            if *number <= highest {
                return Err(StoreError::InvalidPartOrder(*number));
            }
            highest = *number;
            let part = self.parts.get(number).ok_or(StoreError::InvalidPart(*number))?;
            if etag.as_ref().is_some_and(|etag| *etag != part.etag()) {
                return Err(StoreError::InvalidPart(*number));
            }
            let length = part.content.length();
            if index + 1 < listed.len() && length < MINIMUM_PART {
                return Err(StoreError::PartTooSmall { number: *number, length, minimum: MINIMUM_PART });
            }
            selected.push(part);
        }
        if selected.is_empty() { Err(StoreError::NoParts) } else { Ok(selected) }
    }
}

/// A part as the client lists it when it completes an upload.
#[derive(Clone, Debug)]
pub(crate) struct ListedPart {
    pub(crate) number: i32,
    /// Without quotes; not compared when absent.
    pub(crate) etag: Option<String>,
}

/// The `ETag` of an object made of `parts`: the MD5 of their MD5s, and how many they are.
fn combined_etag(parts: &[&Part]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(&part.md5);
    }
    format!("{}-{}", hex::encode(md5.finalize()), parts.len())
}

impl State {
    /// The open upload `id` of `key`.
    pub(crate) fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<&Upload, StoreError> {
        let upload = self.bucket(bucket)?.uploads.get(id).filter(|upload| upload.key == key);
        upload.ok_or_else(|| StoreError::NoSuchUpload(id.to_owned()))
    }
}

impl Store {
    /// Opens an upload and returns its id.
    pub(crate) fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        description: Description,
    ) -> Result<String, StoreError> {
        let upload =
            Upload { key: key.to_owned(), initiated: self.now(), description, parts: BTreeMap::new() };
        let id = uuid::Uuid::new_v4().simple().to_string();
        self.lock().bucket_mut(bucket)?.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    /// Refuses early a part of an unknown upload, or one that doesn't fit.
    pub(crate) fn check_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        length: u64,
    ) -> Result<(), StoreError> {
        let state = self.lock();
        state.upload(bucket, key, id)?;
        state.check_capacity(length, 0)
    }

    /// Adds a part to an upload, or replaces the one of the same number.
    pub(crate) fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: i32,
        part: Part,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        let upload = state.upload(bucket, key, id)?;
        let freed = upload.parts.get(&number).map_or(0, |part| part.content.length());
        state.check_capacity(part.content.length(), freed)?;
        let upload = state.bucket_mut(bucket)?.uploads.get_mut(id);
        upload.ok_or_else(|| StoreError::NoSuchUpload(id.to_owned()))?.parts.insert(number, part);
        Ok(())
    }

    /// Makes an object of the listed parts and closes the upload.
    pub(crate) fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        listed: &[ListedPart],
        condition: impl FnOnce(Option<&Object>) -> Result<(), StoreError>,
    ) -> Result<Arc<Object>, StoreError> {
        let modified = self.now();
        let mut state = self.lock();
        condition(state.bucket(bucket)?.objects.get(key).map(AsRef::as_ref))?;
        let upload = state.upload(bucket, key, id)?;
        let parts = upload.select(listed)?;
        let object = Arc::new(Object {
            content: Content::concatenate(parts.iter().map(|part| &part.content)),
            etag: combined_etag(&parts),
            modified,
            description: upload.description.clone(),
            parts: parts.iter().map(|part| part.content.length()).collect(),
        });
        let bucket = state.bucket_mut(bucket)?;
        let closed = bucket.uploads.remove(id);
        let replaced = bucket.objects.insert(key.to_owned(), object.clone());
        drop(state);
        // files may go with these: outside of the lock
        drop((closed, replaced));
        Ok(object)
    }

    /// Closes an upload and forgets its parts.
    pub(crate) fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.upload(bucket, key, id)?;
        let removed = state.bucket_mut(bucket)?.uploads.remove(id);
        drop(state);
        drop(removed);
        Ok(())
    }
}
