//! Between the store's types and those of the S3 protocol.

use std::time::SystemTime;

use jiff::Timestamp;
use s3s::dto::{ETag, StreamingBlob};
use s3s::stream::ByteStream as _;
use s3s::{S3Error, S3ErrorCode, S3Result};

/// A point in time as the protocol library has it.
pub(super) fn timestamp(time: Timestamp) -> s3s::dto::Timestamp {
    SystemTime::from(time).into()
}

/// `time` without its fraction of a second, as HTTP dates have it.
pub(super) fn to_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A size as the protocol library has it.
pub(super) fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The length of an upload: as declared, or as the body's framing has it, which without any header is 0.
pub(super) fn length(declared: Option<i64>, body: Option<&StreamingBlob>) -> S3Result<u64> {
    let Some(declared) = declared else {
        let framed = body.map_or(Some(0), |body| body.remaining_length().exact());
        let missing =
            || S3Error::with_message(S3ErrorCode::MissingContentLength, "missing header: content-length");
        return framed.map(|length| length as u64).ok_or_else(missing);
    };
    u64::try_from(declared).map_err(|_| invalid("the content length is negative"))
}

/// A strong `ETag` of `value`, which has no quotes.
pub(super) fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

/// 400 `InvalidArgument`.
pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidArgument, message)
}
