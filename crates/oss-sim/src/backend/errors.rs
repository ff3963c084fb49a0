//! The store's refusals as S3 errors.

use http::StatusCode;
use s3s::{S3Error, S3ErrorCode};

use crate::store::StoreError;

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::NoSuchBucket(_) => S3ErrorCode::NoSuchBucket,
            StoreError::NoSuchKey { .. } => S3ErrorCode::NoSuchKey,
            StoreError::NoSuchUpload(_) => S3ErrorCode::NoSuchUpload,
            StoreError::BucketExists(_) => S3ErrorCode::BucketAlreadyOwnedByYou,
            StoreError::InvalidBucketName(_) => S3ErrorCode::InvalidBucketName,
            StoreError::BucketNotEmpty(_) => S3ErrorCode::BucketNotEmpty,
            StoreError::Full { .. } => S3ErrorCode::Custom("QuotaExceeded".into()),
            StoreError::InvalidPart(_) => S3ErrorCode::InvalidPart,
            StoreError::InvalidPartOrder(_) => S3ErrorCode::InvalidPartOrder,
            StoreError::PartTooSmall { .. } => S3ErrorCode::EntityTooSmall,
            StoreError::NoParts => S3ErrorCode::MalformedXML,
            StoreError::Precondition(_) => S3ErrorCode::PreconditionFailed,
            StoreError::Io(_) => S3ErrorCode::InternalError,
        };
        let mut answer = Self::with_message(code, error.to_string());
        if matches!(error, StoreError::Full { .. }) {
            answer.set_status_code(StatusCode::FORBIDDEN);
        }
        if let StoreError::Io(source) = error {
            tracing::error!(error = %source, "the object store's files failed");
            answer.set_source(Box::new(source));
        }
        answer
    }
}
