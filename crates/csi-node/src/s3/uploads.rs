//! Objects written in parts.

use std::fmt::Write as _;
use std::ops::Range;

use bytes::Bytes;
use http::{HeaderName, Method};

use super::transport::Call;
use super::{Bucket, Metadata, Payload, S3Error, objects};

/// A part that is on the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// From 1 to 10,000.
    pub number: u32,
    /// Version tag of the part, with its quotes.
    pub etag: String,
}

impl Bucket {
    /// Begins an object in parts and answers the upload's id.
    ///
    /// # Errors
    /// When the store can't be reached or refuses.
    pub async fn create_upload(
        &self,
        key: &str,
        content_type: &str,
        metadata: &Metadata,
    ) -> Result<String, S3Error> {
        let mut call = Call::new("CreateMultipartUpload", Method::POST, key);
        call.query.push(("uploads", String::new()));
        self.describe(&mut call, content_type, metadata)?;
        let document = self.send_for_document(&call).await?;
        document
            .text_of("UploadId")
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| S3Error::Malformed { operation: call.operation, reason: "no upload id".into() })
    }

    /// Sends part `number`.
    ///
    /// # Errors
    /// When the store can't be reached or refuses.
    pub async fn upload_part(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        payload: Payload,
    ) -> Result<Part, S3Error> {
        let mut call = Call::new("UploadPart", Method::PUT, key);
        call.query = vec![("partNumber", number.to_string()), ("uploadId", upload.to_owned())];
        call.payload = payload;
        let response = self.send(&call).await?;
        Ok(Part { number, etag: objects::etag(response.headers()) })
    }

    /// Makes part `number` of `range` of the object at `from` in the version `etag`, on the server.
    ///
    /// # Errors
    /// When the object is gone or changed, or the store can't be reached or refuses.
    pub async fn copy_part(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        from: &str,
        etag: &str,
        range: Range<u64>,
    ) -> Result<Part, S3Error> {
        let mut call = Call::new("UploadPartCopy", Method::PUT, key);
        call.query = vec![("partNumber", number.to_string()), ("uploadId", upload.to_owned())];
        call.header(HeaderName::from_static("x-amz-copy-source"), &self.copy_source(from))?;
        call.header(
            HeaderName::from_static("x-amz-copy-source-range"),
            &format!("bytes={}-{}", range.start, range.end.saturating_sub(1)),
        )?;
        if !etag.is_empty() {
            call.header(HeaderName::from_static("x-amz-copy-source-if-match"), etag)?;
        }
        let document = self.send_for_document(&call).await?;
        Ok(Part { number, etag: document.text_of("ETag").unwrap_or_default().to_owned() })
    }

    /// Puts the object together from `parts`, in the order of their numbers, and answers its version tag.
    ///
    /// # Errors
    /// When a part is missing or too small, or the store can't be reached or refuses.
    pub async fn complete_upload(&self, key: &str, upload: &str, parts: &[Part]) -> Result<String, S3Error> {
        let mut document = String::from("<CompleteMultipartUpload>");
        for part in parts {
            let etag = part.etag.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
            let _ =
                write!(document, "<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", part.number);
        }
        document.push_str("</CompleteMultipartUpload>");
        let mut call = Call::new("CompleteMultipartUpload", Method::POST, key);
        call.query.push(("uploadId", upload.to_owned()));
        call.payload = Payload::from(Bytes::from(document));
        let answer = self.send_for_document(&call).await?;
        Ok(answer.text_of("ETag").unwrap_or_default().to_owned())
    }

    /// Gives up an upload and its parts.
    ///
    /// # Errors
    /// When the store can't be reached or refuses.
    pub async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), S3Error> {
        let mut call = Call::new("AbortMultipartUpload", Method::DELETE, key);
        call.query.push(("uploadId", upload.to_owned()));
        self.send(&call).await.map(drop)
    }
}
