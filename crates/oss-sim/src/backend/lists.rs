//! Listings of a bucket, in both versions of the protocol.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use s3s::S3Result;
use s3s::dto::{
    CommonPrefix, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
    Object as ListedObject, ObjectStorageClass, Owner,
};

use super::Backend;
use super::convert::{etag, invalid, size, timestamp};
use crate::store::{Item, Object, Query, list};

/// Lines on a page, unless the request asks for fewer.
const PAGE: usize = 1000;

/// How names are written into the answer.
#[derive(Clone, Copy)]
enum Encoding {
    Plain,
    /// Percent-encoded, because XML has no way to write some characters.
    Url,
}

impl Encoding {
    fn new(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => Err(invalid("the encoding type is not url")),
        }
    }

    fn write(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Url => percent_encode(text),
        }
    }

    fn write_some(self, text: Option<String>) -> Option<String> {
        text.map(|text| self.write(&text))
    }
}

/// Writes everything but letters, digits, `-_.~` and `/` with percent signs.
fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // writing to a string can't fail
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// What both versions of the protocol show.
struct Listed {
    contents: Vec<ListedObject>,
    prefixes: Vec<CommonPrefix>,
    /// The last line's name, if there are more.
    next: Option<String>,
}

impl Backend {
    fn list(&self, bucket: &str, query: &Query, encoding: Encoding, owner: bool) -> S3Result<Listed> {
        let state = self.store.lock();
        let page = list(&state.bucket(bucket)?.objects, query);
        let next = page.items.last().filter(|_| page.truncated).map(|item| item.name().to_owned());
        let mut listed = Listed { contents: Vec::new(), prefixes: Vec::new(), next };
        for item in &page.items {
            match item {
                Item::Key(key, object) => listed.contents.push(line(&encoding.write(key), object, owner)),
                Item::Prefix(prefix) => {
                    listed.prefixes.push(CommonPrefix { prefix: Some(encoding.write(prefix)) });
                }
            }
        }
        Ok(listed)
    }

    pub(super) fn list_v1(&self, input: ListObjectsInput) -> S3Result<ListObjectsOutput> {
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let limit = page_size(input.max_keys)?;
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            after: input.marker.clone().unwrap_or_default(),
            limit,
        };
        let listed = self.list(&input.bucket, &query, encoding, true)?;
        Ok(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.write(&query.prefix)),
            marker: Some(encoding.write(&query.after)),
            max_keys: i32::try_from(limit).ok(),
            is_truncated: Some(listed.next.is_some()),
            contents: Some(listed.contents),
            common_prefixes: Some(listed.prefixes),
            delimiter: encoding.write_some(input.delimiter),
            next_marker: encoding.write_some(listed.next),
            encoding_type: input.encoding_type,
            ..Default::default()
        })
    }

    pub(super) fn list_v2(&self, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let limit = page_size(input.max_keys)?;
        let after = match &input.continuation_token {
            Some(token) => decode_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            after,
            limit,
        };
        let listed = self.list(&input.bucket, &query, encoding, input.fetch_owner == Some(true))?;
        Ok(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.write(&query.prefix)),
            max_keys: i32::try_from(limit).ok(),
            key_count: i32::try_from(listed.contents.len() + listed.prefixes.len()).ok(),
            is_truncated: Some(listed.next.is_some()),
            next_continuation_token: listed.next.map(|name| BASE64_URL_SAFE_NO_PAD.encode(name)),
            continuation_token: input.continuation_token,
            contents: Some(listed.contents),
            common_prefixes: Some(listed.prefixes),
            delimiter: encoding.write_some(input.delimiter),
            start_after: encoding.write_some(input.start_after),
            encoding_type: input.encoding_type,
            ..Default::default()
        })
    }
}

fn line(key: &str, object: &Arc<Object>, owner: bool) -> ListedObject {
    ListedObject {
        key: Some(key.to_owned()),
        e_tag: Some(etag(&object.etag)),
        last_modified: Some(timestamp(object.modified)),
        size: Some(size(object.size())),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        owner: owner
            .then(|| Owner { id: Some(super::OWNER.into()), display_name: Some(super::OWNER.into()) }),
        ..Default::default()
    }
}

fn page_size(asked: Option<i32>) -> S3Result<usize> {
    let asked = asked.map_or(Ok(PAGE), usize::try_from);
    Ok(asked.map_err(|_| invalid("max-keys is negative"))?.min(PAGE))
}

fn decode_token(token: &str) -> S3Result<String> {
    let malformed = || invalid("the continuation token is not one of this server's");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| malformed())?;
    String::from_utf8(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_percent_encoded_but_for_slashes() {
        assert_eq!(percent_encode("a b/c+d\u{1}é~"), "a%20b/c%2Bd%01%C3%A9~");
    }

    #[test]
    fn a_foreign_token_is_refused() {
        assert!(decode_token("not base64!").is_err());
    }
}
