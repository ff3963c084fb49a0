//! The body of a request on its way into the store.

use futures::StreamExt as _;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, TrailingHeaders};

use crate::store::{Store, Written};

/// What a client says about the bytes that it sends; whatever it says is checked.
pub(super) struct Promise {
    /// `Content-MD5`, in base64.
    pub(super) md5: Option<String>,
    /// The `x-amz-checksum-` headers.
    pub(super) checksum: Checksum,
    /// The same as trailers, known once the body has been read.
    pub(super) trailers: Option<TrailingHeaders>,
    /// The headers that the client says will be trailers.
    pub(super) trailer_names: String,
}

impl Promise {
    /// Computes the checksums that were promised or will be.
    fn hasher(&self) -> ChecksumHasher {
        let coming = |name: &str| self.trailer_names.to_ascii_lowercase().contains(name);
        let mut hasher = ChecksumHasher::default();
        if self.checksum.checksum_crc32.is_some() || coming("x-amz-checksum-crc32") {
            hasher.crc32 = Some(s3s::crypto::Crc32::new());
        }
        if self.checksum.checksum_crc32c.is_some() || coming("x-amz-checksum-crc32c") {
            hasher.crc32c = Some(s3s::crypto::Crc32c::new());
        }
        if self.checksum.checksum_crc64nvme.is_some() || coming("x-amz-checksum-crc64nvme") {
            hasher.crc64nvme = Some(s3s::crypto::Crc64Nvme::new());
        }
        if self.checksum.checksum_sha1.is_some() || coming("x-amz-checksum-sha1") {
            hasher.sha1 = Some(s3s::crypto::Sha1::new());
        }
        if self.checksum.checksum_sha256.is_some() || coming("x-amz-checksum-sha256") {
            hasher.sha256 = Some(s3s::crypto::Sha256::new());
        }
        hasher
    }

    /// Compares what was promised with what came.
    fn check(&self, written: &Written) -> S3Result<()> {
        use base64::Engine as _;
        let md5 = base64::prelude::BASE64_STANDARD.encode(written.md5);
        if self.md5.as_ref().is_some_and(|promised| *promised != md5) {
            return Err(bad_digest("Content-MD5"));
        }
        let trailer = |name: &str| {
            let trailers = self.trailers.as_ref()?;
            trailers.read(|headers| headers.get(name)?.to_str().ok().map(str::to_owned)).flatten()
        };
        let (promised, came) = (&self.checksum, &written.checksum);
        for (name, promised, came) in [
            ("x-amz-checksum-crc32", &promised.checksum_crc32, &came.checksum_crc32),
            ("x-amz-checksum-crc32c", &promised.checksum_crc32c, &came.checksum_crc32c),
            ("x-amz-checksum-crc64nvme", &promised.checksum_crc64nvme, &came.checksum_crc64nvme),
            ("x-amz-checksum-sha1", &promised.checksum_sha1, &came.checksum_sha1),
            ("x-amz-checksum-sha256", &promised.checksum_sha256, &came.checksum_sha256),
        ] {
            let promised = promised.clone().or_else(|| trailer(name));
            if promised.is_some() && promised != *came {
                return Err(bad_digest(name));
            }
        }
        Ok(())
    }
}

fn bad_digest(name: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::BadDigest, format!("{name} is not that of the bytes that came"))
}

/// Reads `body` into the store, where nothing refers to it yet.
pub(super) async fn receive(
    store: &Store,
    body: Option<StreamingBlob>,
    length: u64,
    promise: &Promise,
) -> S3Result<Written> {
    let mut writer = store.writer(promise.hasher());
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            writer.push(chunk.map_err(broken_body)?).await.map_err(S3Error::internal_error)?;
        }
    }
    let written = writer.finish().await.map_err(S3Error::internal_error)?;
    if written.content.length() != length {
        return Err(S3ErrorCode::IncompleteBody.into());
    }
    promise.check(&written)?;
    Ok(written)
}

/// The S3 error for a body that broke off. The protocol library checks the signature of the payload while the body
/// is read but doesn't export those errors, so they are told apart by their names.
fn broken_body(error: StdError) -> S3Error {
    let text = error.to_string();
    let mismatch = S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into());
    let code = if text.contains("SignatureMismatch") {
        S3ErrorCode::SignatureDoesNotMatch
    } else if text.contains("Sha256Mismatch") {
        mismatch
    } else {
        S3ErrorCode::IncompleteBody
    };
    let mut answer = S3Error::with_source(code, error);
    if answer.status_code().is_none() {
        answer.set_status_code(http::StatusCode::BAD_REQUEST);
    }
    answer
}
