//! Listings of keys.

use http::Method;
use jiff::Timestamp;

use super::transport::Call;
use super::{Bucket, S3Error};

/// One object of a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// Full key.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// Version tag, with its quotes.
    pub etag: String,
    /// When it was last written.
    pub modified: Timestamp,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// Objects, by key.
    pub objects: Vec<Listed>,
    /// Prefixes that end at a `/` after the listed prefix, where these were asked for.
    pub prefixes: Vec<String>,
    /// What to ask for to get the next page, if there is one.
    pub next: Option<String>,
}

impl Bucket {
    /// A page of at most `limit` keys that begin with `prefix`. With `delimited`, keys with a `/` after the prefix
    /// are summed up in [`Page::prefixes`]. `from` is the last page's [`Page::next`].
    ///
    /// # Errors
    /// When the bucket doesn't exist, or the store can't be reached or refuses.
    pub async fn list(
        &self,
        prefix: &str,
        delimited: bool,
        limit: u32,
        from: Option<&str>,
    ) -> Result<Page, S3Error> {
        let mut call = Call::new("ListObjectsV2", Method::GET, "");
        if let Some(token) = from {
            call.query.push(("continuation-token", token.to_owned()));
        }
        if delimited {
            call.query.push(("delimiter", "/".to_owned()));
        }
        call.query.push(("list-type", "2".to_owned()));
        call.query.push(("max-keys", limit.to_string()));
        call.query.push(("prefix", prefix.to_owned()));
        let document = self.send_for_document(&call).await?;
        let objects = document
            .all("Contents")
            .map(|entry| {
                Some(Listed {
                    key: entry.text_of("Key")?.to_owned(),
                    size: entry.text_of("Size")?.parse().ok()?,
                    etag: entry.text_of("ETag").unwrap_or_default().to_owned(),
                    modified: entry
                        .text_of("LastModified")
                        .and_then(|time| time.parse().ok())
                        .unwrap_or(Timestamp::UNIX_EPOCH),
                })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| S3Error::Malformed {
                operation: call.operation,
                reason: "incomplete entry".into(),
            })?;
        let prefixes = document
            .all("CommonPrefixes")
            .filter_map(|entry| entry.text_of("Prefix"))
            .map(str::to_owned)
            .collect();
        let next = match document.text_of("IsTruncated") {
            Some("true") => document.text_of("NextContinuationToken").map(str::to_owned),
            _ => None,
        };
        Ok(Page { objects, prefixes, next })
    }
}
