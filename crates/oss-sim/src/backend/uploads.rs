//! Multipart uploads.

use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{
    AbortMultipartUploadInput, Checksum, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CopyPartResult, CreateMultipartUploadInput, CreateMultipartUploadOutput, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload, Range, UploadPartCopyInput,
    UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3ErrorCode, S3Request, S3Result};

use super::conditions::Conditions;
use super::convert::{etag, invalid, length, size, timestamp};
use super::upload::{Promise, receive};
use super::{Backend, trailer_names};
use crate::store::{Description, ListedPart, Part};

/// Part numbers that S3 accepts.
const PART_NUMBERS: std::ops::RangeInclusive<i32> = 1..=10_000;

/// Lines on a page of parts or uploads, unless the request asks for fewer.
const PAGE: usize = 1000;

fn check_number(number: i32) -> S3Result<()> {
    if PART_NUMBERS.contains(&number) { Ok(()) } else { Err(invalid("the part number is not in 1 to 10000")) }
}

impl Backend {
    pub(super) fn create_upload(
        &self,
        input: CreateMultipartUploadInput,
    ) -> S3Result<CreateMultipartUploadOutput> {
        let description = Description {
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            content_disposition: input.content_disposition,
            content_language: input.content_language,
            cache_control: input.cache_control,
            metadata: input.metadata.unwrap_or_default(),
        };
        let id = self.store.create_upload(&input.bucket, &input.key, description)?;
        Ok(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..Default::default()
        })
    }

    pub(super) async fn put_part(&self, request: S3Request<UploadPartInput>) -> S3Result<UploadPartOutput> {
        let trailer_names = trailer_names(&request);
        let input = request.input;
        check_number(input.part_number)?;
        let length = length(input.content_length, input.body.as_ref())?;
        self.store.check_part(&input.bucket, &input.key, &input.upload_id, length)?;
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
        let part = Part { content: written.content, md5: written.md5, modified: self.store.now() };
        let tag = part.etag();
        self.store.put_part(&input.bucket, &input.key, &input.upload_id, input.part_number, part)?;
        Ok(UploadPartOutput {
            e_tag: Some(etag(&tag)),
            checksum_crc32: written.checksum.checksum_crc32,
            checksum_crc32c: written.checksum.checksum_crc32c,
            checksum_crc64nvme: written.checksum.checksum_crc64nvme,
            checksum_sha1: written.checksum.checksum_sha1,
            checksum_sha256: written.checksum.checksum_sha256,
            ..Default::default()
        })
    }

    /// Makes a part of another object's bytes; they are read once for their MD5, but not written.
    pub(super) async fn copy_part(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<UploadPartCopyOutput> {
        let reader = request.credentials.as_ref().map(|credentials| credentials.access_key.clone());
        let input = request.input;
        check_number(input.part_number)?;
        let conditions = Conditions {
            matches: input.copy_source_if_match,
            none_matches: input.copy_source_if_none_match,
            modified_since: input.copy_source_if_modified_since,
            unmodified_since: input.copy_source_if_unmodified_since,
        };
        let source = self.copy_source(reader.as_deref(), &input.copy_source, &conditions)?;
        let content = match input.copy_source_range.as_deref() {
            None => source.content.clone(),
            Some(text) => {
                let range = Range::parse(text).map_err(|_| invalid("the copy source range is malformed"))?;
                source.content.slice(range.check(source.size())?)
            }
        };
        self.store.check_part(&input.bucket, &input.key, &input.upload_id, content.length())?;
        let md5 = md5_of(&content).await?;
        let part = Part { content, md5, modified: self.store.now() };
        let (tag, modified) = (part.etag(), part.modified);
        self.store.put_part(&input.bucket, &input.key, &input.upload_id, input.part_number, part)?;
        Ok(UploadPartCopyOutput {
            copy_part_result: Some(CopyPartResult {
                e_tag: Some(etag(&tag)),
                last_modified: Some(timestamp(modified)),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    pub(super) fn complete_upload(
        &self,
        input: CompleteMultipartUploadInput,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let listed: Vec<ListedPart> = parts
            .into_iter()
            .map(|part| {
                let number = part.part_number.ok_or(S3ErrorCode::MalformedXML)?;
                Ok(ListedPart { number, etag: part.e_tag.map(s3s::dto::ETag::into_value) })
            })
            .collect::<S3Result<_>>()?;
        let conditions =
            Conditions { matches: input.if_match, none_matches: input.if_none_match, ..Default::default() };
        let object =
            self.store.complete_upload(&input.bucket, &input.key, &input.upload_id, &listed, |present| {
                conditions.check_write(present)
            })?;
        Ok(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag(&object.etag)),
            ..Default::default()
        })
    }

    pub(super) fn abort_upload(&self, input: &AbortMultipartUploadInput) -> S3Result<()> {
        Ok(self.store.abort_upload(&input.bucket, &input.key, &input.upload_id)?)
    }

    pub(super) fn list_parts(&self, input: ListPartsInput) -> S3Result<ListPartsOutput> {
        let limit = page_size(input.max_parts)?;
        let after = input.part_number_marker.unwrap_or(0);
        let state = self.store.lock();
        let upload = state.upload(&input.bucket, &input.key, &input.upload_id)?;
        let mut parts: Vec<s3s::dto::Part> = upload
            .parts
            .range(after.saturating_add(1)..)
            .take(limit + 1)
            .map(|(number, part)| s3s::dto::Part {
                part_number: Some(*number),
                e_tag: Some(etag(&part.etag())),
                size: Some(size(part.content.length())),
                last_modified: Some(timestamp(part.modified)),
                ..Default::default()
            })
            .collect();
        let truncated = parts.len() > limit;
        parts.truncate(limit);
        Ok(ListPartsOutput {
            next_part_number_marker: parts.last().and_then(|part| part.part_number).filter(|_| truncated),
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(truncated),
            max_parts: i32::try_from(limit).ok(),
            part_number_marker: Some(after),
            parts: Some(parts),
            ..Default::default()
        })
    }

    pub(super) fn list_uploads(
        &self,
        input: ListMultipartUploadsInput,
    ) -> S3Result<ListMultipartUploadsOutput> {
        if input.delimiter.is_some() {
            return Err(S3ErrorCode::NotImplemented.into());
        }
        let limit = page_size(input.max_uploads)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = (input.key_marker.clone().unwrap_or_default(), input.upload_id_marker.clone());
        let state = self.store.lock();
        let mut open: Vec<_> = state
            .bucket(&input.bucket)?
            .uploads
            .iter()
            .filter(|(id, upload)| upload.key.starts_with(&prefix) && is_after(&upload.key, id, &after))
            .collect();
        open.sort_by(|(id, upload), (other_id, other)| (&upload.key, id).cmp(&(&other.key, other_id)));
        let truncated = open.len() > limit;
        open.truncate(limit);
        let last = open.last().filter(|_| truncated);
        Ok(ListMultipartUploadsOutput {
            next_key_marker: last.map(|(_, upload)| upload.key.clone()),
            next_upload_id_marker: last.map(|(id, _)| (*id).clone()),
            bucket: Some(input.bucket),
            prefix: input.prefix,
            is_truncated: Some(truncated),
            max_uploads: i32::try_from(limit).ok(),
            key_marker: input.key_marker,
            upload_id_marker: input.upload_id_marker,
            uploads: Some(
                open.into_iter()
                    .map(|(id, upload)| MultipartUpload {
                        key: Some(upload.key.clone()),
                        upload_id: Some(id.clone()),
                        initiated: Some(timestamp(upload.initiated)),
                        ..Default::default()
                    })
                    .collect(),
            ),
            ..Default::default()
        })
    }
}

/// Whether an upload comes after the markers: after the key, or with an id marker after that id of the key.
fn is_after(key: &str, id: &str, (key_marker, id_marker): &(String, Option<String>)) -> bool {
    match id_marker {
        None => key > key_marker.as_str(),
        Some(marker) => (key, id) > (key_marker.as_str(), marker.as_str()),
    }
}

fn page_size(asked: Option<i32>) -> S3Result<usize> {
    let asked = asked.map_or(Ok(PAGE), usize::try_from);
    Ok(asked.map_err(|_| invalid("the number of lines is negative"))?.min(PAGE))
}

async fn md5_of(content: &crate::store::Content) -> S3Result<[u8; 16]> {
    use futures::StreamExt as _;
    let mut md5 = Md5::new();
    let mut stream = content.stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|source| s3s::S3Error::with_source(S3ErrorCode::InternalError, source))?;
        md5.update(&chunk);
    }
    Ok(md5.finalize())
}
