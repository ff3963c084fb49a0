//! Objects: put, get, head, copy, delete.

use std::ops::Range;
use std::sync::Arc;

use s3s::dto::{
    Checksum, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput,
    DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, GetObjectInput, GetObjectOutput, HeadObjectInput,
    HeadObjectOutput, MetadataDirective, PutObjectInput, PutObjectOutput, StreamingBlob,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result};

use super::conditions::Conditions;
use super::convert::{etag, invalid, length, size, timestamp};
use super::upload::{Promise, receive};
use super::{Backend, trailer_names};
use crate::store::{Content, Description, Object};

impl Backend {
    pub(super) async fn put(&self, request: S3Request<PutObjectInput>) -> S3Result<PutObjectOutput> {
        let trailer_names = trailer_names(&request);
        let input = request.input;
        let length = length(input.content_length, input.body.as_ref())?;
        self.store.check_room(&input.bucket, &input.key, length)?;
        let promise = Promise {
            md5: input.content_md5,
            checksum: Checksum {
                checksum_crc32: input.checksum_crc32,
                checksum_crc32c: input.checksum_crc32c,
                checksum_crc64nvme: input.checksum_crc64nvme,
                checksum_sha1: input.checksum_sha1,
                checksum_sha256: input.checksum_sha256,
                checksum_type: None,
            },
            trailers: request.trailing_headers,
            trailer_names,
        };
        let written = receive(&self.store, input.body, length, &promise).await?;
        let conditions =
            Conditions { matches: input.if_match, none_matches: input.if_none_match, ..Default::default() };
        let object = Object {
            content: written.content,
            etag: hex::encode(written.md5),
            modified: self.store.now(),
            description: Description {
                content_type: input.content_type,
                content_encoding: input.content_encoding,
                content_disposition: input.content_disposition,
                content_language: input.content_language,
                cache_control: input.cache_control,
                metadata: input.metadata.unwrap_or_default(),
            },
            parts: Vec::new(),
        };
        let object =
            self.store.put(&input.bucket, &input.key, object, |present| conditions.check_write(present))?;
        Ok(PutObjectOutput {
            e_tag: Some(etag(&object.etag)),
            checksum_crc32: written.checksum.checksum_crc32,
            checksum_crc32c: written.checksum.checksum_crc32c,
            checksum_crc64nvme: written.checksum.checksum_crc64nvme,
            checksum_sha1: written.checksum.checksum_sha1,
            checksum_sha256: written.checksum.checksum_sha256,
            ..Default::default()
        })
    }

    pub(super) fn get(&self, input: GetObjectInput) -> S3Result<GetObjectOutput> {
        let object = self.store.lock().object(&input.bucket, &input.key)?;
        let conditions = Conditions {
            matches: input.if_match,
            none_matches: input.if_none_match,
            modified_since: input.if_modified_since,
            unmodified_since: input.if_unmodified_since,
        };
        conditions.check_read(&object)?;
        let selection = Selection::new(&object, input.range, input.part_number)?;
        let content = selection.content(&object.content);
        let description = object.description.clone();
        Ok(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::new(content.stream())),
            content_length: Some(size(content.length())),
            content_range: selection.header(object.size()),
            content_type: input.response_content_type.or_else(|| Some(content_type(&object))),
            content_encoding: input.response_content_encoding.or(description.content_encoding),
            content_disposition: input.response_content_disposition.or(description.content_disposition),
            content_language: input.response_content_language.or(description.content_language),
            cache_control: input.response_cache_control.or(description.cache_control),
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(timestamp(object.modified)),
            metadata: Some(description.metadata),
            parts_count: parts_count(&object, input.part_number),
            ..Default::default()
        })
    }

    pub(super) fn head(&self, input: HeadObjectInput) -> S3Result<HeadObjectOutput> {
        let object = self.store.lock().object(&input.bucket, &input.key)?;
        let conditions = Conditions {
            matches: input.if_match,
            none_matches: input.if_none_match,
            modified_since: input.if_modified_since,
            unmodified_since: input.if_unmodified_since,
        };
        conditions.check_read(&object)?;
        let selection = Selection::new(&object, input.range, input.part_number)?;
        let description = object.description.clone();
        Ok(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(size(selection.content(&object.content).length())),
            content_range: selection.header(object.size()),
            content_type: Some(content_type(&object)),
            content_encoding: description.content_encoding,
            content_disposition: description.content_disposition,
            content_language: description.content_language,
            cache_control: description.cache_control,
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(timestamp(object.modified)),
            metadata: Some(description.metadata),
            parts_count: parts_count(&object, input.part_number),
            ..Default::default()
        })
    }

    /// Makes another object of the same bytes; none of them is moved.
    pub(super) fn copy(&self, request: S3Request<CopyObjectInput>) -> S3Result<CopyObjectOutput> {
        let reader = request.credentials.as_ref().map(|credentials| credentials.access_key.clone());
        let input = request.input;
        let conditions = Conditions {
            matches: input.copy_source_if_match,
            none_matches: input.copy_source_if_none_match,
            modified_since: input.copy_source_if_modified_since,
            unmodified_since: input.copy_source_if_unmodified_since,
        };
        let source = self.copy_source(reader.as_deref(), &input.copy_source, &conditions)?;
        let replace = input
            .metadata_directive
            .is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
        let same = matches!(&input.copy_source, CopySource::Bucket { bucket, key, .. }
            if **bucket == *input.bucket && **key == *input.key);
        if same && !replace {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                "copying an object onto itself needs new metadata",
            ));
        }
        let description = if replace {
            Description {
                content_type: input.content_type,
                content_encoding: input.content_encoding,
                content_disposition: input.content_disposition,
                content_language: input.content_language,
                cache_control: input.cache_control,
                metadata: input.metadata.unwrap_or_default(),
            }
        } else {
            source.description.clone()
        };
        let object = Object {
            content: source.content.clone(),
            etag: source.etag.clone(),
            modified: self.store.now(),
            description,
            parts: source.parts.clone(),
        };
        let object = self.store.put(&input.bucket, &input.key, object, |_| Ok(()))?;
        Ok(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: Some(etag(&object.etag)),
                last_modified: Some(timestamp(object.modified)),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    /// The object that a copy takes its bytes from, if the key may read it and the conditions hold.
    pub(super) fn copy_source(
        &self,
        reader: Option<&str>,
        source: &CopySource,
        conditions: &Conditions,
    ) -> S3Result<Arc<Object>> {
        let CopySource::Bucket { bucket, key, version_id: None } = source else {
            return Err(S3ErrorCode::NotImplemented.into());
        };
        self.keys.check(reader, Some(bucket), false)?;
        let object = self.store.lock().object(bucket, key)?;
        conditions.check_copy(&object)?;
        Ok(object)
    }

    pub(super) fn delete(&self, input: &DeleteObjectInput) -> S3Result<()> {
        Ok(self.store.delete(&input.bucket, &input.key)?)
    }

    pub(super) fn delete_many(&self, input: DeleteObjectsInput) -> S3Result<DeleteObjectsOutput> {
        if input.delete.objects.len() > 1000 {
            return Err(S3ErrorCode::MalformedXML.into());
        }
        let mut deleted = Vec::with_capacity(input.delete.objects.len());
        for object in input.delete.objects {
            self.store.delete(&input.bucket, &object.key)?;
            deleted.push(DeletedObject { key: Some(object.key), ..Default::default() });
        }
        let quiet = input.delete.quiet == Some(true);
        Ok(DeleteObjectsOutput { deleted: (!quiet).then_some(deleted), ..Default::default() })
    }
}

/// The stored content type, or what OSS says where none was given.
fn content_type(object: &Object) -> String {
    object.description.content_type.clone().unwrap_or_else(|| "application/octet-stream".to_owned())
}

fn parts_count(object: &Object, asked: Option<i32>) -> Option<i32> {
    asked.and_then(|_| i32::try_from(object.parts.len()).ok()).filter(|count| *count > 0)
}

/// Which bytes of an object a request asks for.
enum Selection {
    All,
    Range(Range<u64>),
}

impl Selection {
    fn new(object: &Object, range: Option<s3s::dto::Range>, part: Option<i32>) -> S3Result<Self> {
        match (range, part) {
            (None, None) => Ok(Self::All),
            (Some(_), Some(_)) => Err(invalid("a range and a part number exclude each other")),
            (Some(range), None) => Ok(Self::Range(range.check(object.size())?)),
            (None, Some(number)) => Self::part(object, number),
        }
    }

    fn part(object: &Object, number: i32) -> S3Result<Self> {
        if object.parts.is_empty() && number == 1 {
            return Ok(Self::All);
        }
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let part = index.and_then(|index| Some((object.parts.get(..index)?, object.parts.get(index)?)));
        let (before, length) = part.ok_or_else(|| {
            let mut error = S3Error::new(S3ErrorCode::Custom("InvalidPartNumber".into()));
            error.set_status_code(http::StatusCode::RANGE_NOT_SATISFIABLE);
            error
        })?;
        let start: u64 = before.iter().sum();
        Ok(Self::Range(start..start + length))
    }

    fn content(&self, content: &Content) -> Content {
        match self {
            Self::All => content.clone(),
            Self::Range(range) => content.slice(range.clone()),
        }
    }

    /// The `Content-Range` header.
    fn header(&self, size: u64) -> Option<String> {
        match self {
            Self::All => None,
            Self::Range(range) => {
                Some(format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1)))
            }
        }
    }
}
