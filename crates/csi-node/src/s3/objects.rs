//! Objects: look at, read, write, copy, delete.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderName, Method};
use hyper::body::Incoming;
use jiff::Timestamp;

use super::sign;
use super::transport::Call;
use super::{Bucket, Payload, S3Error};

const METADATA_PREFIX: &str = "x-amz-meta-";

/// User metadata: names in lower case, without `x-amz-meta-`.
pub type Metadata = BTreeMap<String, String>;

/// What the store says about an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObjectInfo {
    /// Length of the whole object, in bytes.
    pub size: u64,
    /// Version tag, with its quotes.
    pub etag: String,
    /// When it was last written, to the second.
    pub modified: Timestamp,
    /// Media type, "" if none.
    pub content_type: String,
    /// User metadata.
    pub metadata: Metadata,
}

/// The body of an object, or a range of it, as it arrives.
#[derive(Debug)]
pub struct ObjectBody {
    bucket: Bucket,
    body: Incoming,
}

impl ObjectBody {
    /// The next piece, or nothing at the end.
    ///
    /// # Errors
    /// When the connection breaks or nothing arrives within the limit.
    pub async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        self.bucket.next_data("GetObject", &mut self.body).await
    }
}

impl Bucket {
    /// What the object at `key` is, or nothing where there is none.
    ///
    /// # Errors
    /// When the store can't be reached or refuses.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, S3Error> {
        match self.send(&Call::new("HeadObject", Method::HEAD, key)).await {
            Ok(response) => info("HeadObject", response.headers()).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of `range` of the object at `key`, in the version `etag` if one is named.
    ///
    /// # Errors
    /// As [`S3Error::is_not_found`], [`S3Error::is_changed`], [`S3Error::is_past_end`] tell, or when the store
    /// can't be reached or refuses.
    pub async fn get(
        &self,
        key: &str,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> Result<(ObjectInfo, ObjectBody), S3Error> {
        let mut call = Call::new("GetObject", Method::GET, key);
        call.header(RANGE, &format!("bytes={}-{}", range.start, range.end.saturating_sub(1)))?;
        if let Some(etag) = etag {
            call.header(IF_MATCH, etag)?;
        }
        let response = self.send(&call).await?;
        let info = info("GetObject", response.headers())?;
        Ok((info, ObjectBody { bucket: self.clone(), body: response.into_body() }))
    }

    /// Writes an object in one piece and answers its version tag.
    ///
    /// # Errors
    /// When the store can't be reached or refuses.
    pub async fn put(
        &self,
        key: &str,
        payload: Payload,
        content_type: &str,
        metadata: &Metadata,
    ) -> Result<String, S3Error> {
        let mut call = Call::new("PutObject", Method::PUT, key);
        call.payload = payload;
        self.describe(&mut call, content_type, metadata)?;
        let response = self.send(&call).await?;
        Ok(etag(response.headers()))
    }

    /// Copies the object at `from`, which may be the same, to `to` and answers the new version tag. With
    /// `metadata` the copy carries that and not the original's.
    ///
    /// # Errors
    /// When there is no such object, or the store can't be reached or refuses.
    pub async fn copy(
        &self,
        from: &str,
        to: &str,
        metadata: Option<(&str, &Metadata)>,
    ) -> Result<String, S3Error> {
        let mut call = Call::new("CopyObject", Method::PUT, to);
        call.header(HeaderName::from_static("x-amz-copy-source"), &self.copy_source(from))?;
        if let Some((content_type, metadata)) = metadata {
            call.header(HeaderName::from_static("x-amz-metadata-directive"), "REPLACE")?;
            self.describe(&mut call, content_type, metadata)?;
        } else {
            call.headers.extend(self.object_headers().iter().cloned());
        }
        let document = self.send_for_document(&call).await?;
        Ok(document.text_of("ETag").unwrap_or_default().to_owned())
    }

    /// Deletes the object at `key`; one that isn't there is deleted already.
    ///
    /// # Errors
    /// When the store can't be reached or refuses.
    pub async fn delete(&self, key: &str) -> Result<(), S3Error> {
        match self.send(&Call::new("DeleteObject", Method::DELETE, key)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() && error.code() != Some("NoSuchBucket") => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn copy_source(&self, key: &str) -> String {
        sign::escape(&format!("/{}/{key}", self.endpoint().bucket()), true)
    }

    pub(super) fn describe(
        &self,
        call: &mut Call<'_>,
        content_type: &str,
        metadata: &Metadata,
    ) -> Result<(), S3Error> {
        call.header(CONTENT_TYPE, content_type)?;
        for (name, value) in metadata {
            let name = format!("{METADATA_PREFIX}{name}").parse::<HeaderName>().map_err(|_| {
                S3Error::Malformed { operation: call.operation, reason: format!("metadata name {name:?}") }
            })?;
            call.header(name, value)?;
        }
        call.headers.extend(self.object_headers().iter().cloned());
        Ok(())
    }
}

/// The version tag in `headers`, "" where there is none.
pub(super) fn etag(headers: &HeaderMap) -> String {
    text(headers, &ETAG).unwrap_or_default().to_owned()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn info(operation: &'static str, headers: &HeaderMap) -> Result<ObjectInfo, S3Error> {
    let missing = |what: &str| S3Error::Malformed { operation, reason: format!("no valid {what}") };
    let size = match text(headers, &CONTENT_RANGE) {
        Some(range) => range.rsplit('/').next().and_then(|total| total.parse().ok()),
        None => text(headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok()),
    };
    let modified = text(headers, &LAST_MODIFIED)
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .map(|date| date.timestamp());
    let metadata = headers
        .iter()
        .filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(METADATA_PREFIX)?;
            Some((name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        })
        .collect();
    Ok(ObjectInfo {
        size: size.ok_or_else(|| missing("length"))?,
        etag: etag(headers),
        modified: modified.unwrap_or(Timestamp::UNIX_EPOCH),
        content_type: text(headers, &CONTENT_TYPE).unwrap_or_default().to_owned(),
        metadata,
    })
}
