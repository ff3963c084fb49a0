//! Between the store's types and those of the S3 protocol.

use std::time::SystemTime;

use jiff::Timestamp;
use s3s::dto::ETag;
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

/// A length that a client declared.
pub(super) fn length(declared: Option<i64>) -> S3Result<u64> {
    let missing =
        || S3Error::with_message(S3ErrorCode::MissingContentLength, "missing header: content-length");
    u64::try_from(declared.ok_or_else(missing)?).map_err(|_| invalid("the content length is negative"))
}

/// A strong `ETag` of `value`, which has no quotes.
pub(super) fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

/// 400 `InvalidArgument`.
pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidArgument, message)
}
