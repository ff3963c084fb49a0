//! Asks the bucket whether it can be mounted.
//!
//! What the store answers is final. Nobody listening, or a name that doesn't resolve, is tried again for a few
//! seconds: an endpoint may be starting. A network that carries nothing there gets a second: no server's start heals
//! that, but routes and policies of a new pod may be on their way. Silence is waited out for the whole limit.

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;
use tonic::Code;

use crate::driver::Refusal;
use crate::s3::{Bucket, EGRESS_MAY_BE_FORBIDDEN, Limits, S3Error};

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a bucket is asked for an answer.
#[derive(Clone, Copy, Debug)]
pub struct ConnectLimits {
    /// All tries together (`storage.md` §6.2: 30 s).
    pub total: Duration,
    /// Tries that are refused, or whose host doesn't resolve.
    pub unreachable: Duration,
    /// Tries that the network refuses: no route, or a policy that forbids it.
    pub unroutable: Duration,
    /// One try.
    pub attempt: Duration,
}

impl Default for ConnectLimits {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(30),
            unreachable: Duration::from_secs(5),
            unroutable: Duration::from_secs(1),
            attempt: Duration::from_secs(10),
        }
    }
}

/// A bucket that can't be mounted.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// 403.
    #[error("failed to check bucket {bucket:?}: Invalid Credentials ({code})")]
    InvalidCredentials {
        /// The bucket.
        bucket: String,
        /// The store's error code.
        code: String,
    },
    /// 404 `NoSuchBucket`.
    #[error("failed to check bucket {bucket:?}: Bucket not found")]
    BucketNotFound {
        /// The bucket.
        bucket: String,
    },
    /// 400.
    #[error("failed to check bucket {bucket:?}: Bad Request ({code})")]
    BadRequest {
        /// The bucket.
        bucket: String,
        /// The store's error code.
        code: String,
    },
    /// Any other answer.
    #[error("failed to check bucket {bucket:?}: Unable to connect")]
    Answer {
        /// The bucket.
        bucket: String,
        /// The answer.
        #[source]
        source: S3Error,
    },
    /// Nobody listens, or the host doesn't resolve.
    #[error("bucket {bucket:?}: storage endpoint unreachable after {waited:?}: {source}")]
    Unreachable {
        /// The bucket.
        bucket: String,
        /// How long was tried.
        waited: Duration,
        /// The last try.
        source: S3Error,
    },
    /// No answer.
    #[error(
        "bucket {bucket:?}: deadline exceeded, no usable answer of the storage endpoint within {waited:?}: {source}"
    )]
    Silent {
        /// The bucket.
        bucket: String,
        /// How long was tried.
        waited: Duration,
        /// The last try.
        source: S3Error,
    },
}

impl From<ConnectError> for Refusal {
    fn from(error: ConnectError) -> Self {
        let code = match error {
            // Tried for as long as it may take: `Unavailable` would have the caller begin all over again.
            ConnectError::Unreachable { .. } | ConnectError::Silent { .. } => Code::DeadlineExceeded,
            _ => Code::Internal,
        };
        let cause = match &error {
            ConnectError::Answer { source, .. } => format!(": {source}"),
            // Most network plugins drop what a policy forbids.
            ConnectError::Silent { source: S3Error::TimedOut { .. }, .. } => {
                format!("; {EGRESS_MAY_BE_FORBIDDEN}")
            }
            _ => String::new(),
        };
        Self::new(code, format!("{error}{cause}"))
    }
}

/// Asks `bucket` for the first key below `prefix`. That there is none is fine.
///
/// # Errors
/// When the bucket doesn't exist, the AccessKey isn't good for it, or nothing answers within `limits`.
pub(super) async fn check(bucket: &Bucket, prefix: &str, limits: ConnectLimits) -> Result<(), ConnectError> {
    let begun = Instant::now();
    let mut heard = begun;
    let asking = bucket.with_limits(Limits { attempts: 1, ..bucket.limits() });
    loop {
        let left = limits.total.saturating_sub(begun.elapsed());
        let limit = left.min(limits.attempt);
        let source = match tokio::time::timeout(limit, asking.list(prefix, false, 1, None)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => S3Error::TimedOut {
                host: bucket.endpoint().authority().to_owned(),
                operation: "ListObjectsV2",
                limit,
            },
        };
        let name = bucket.endpoint().bucket().to_owned();
        let patience = match &source {
            S3Error::TimedOut { .. } => None,
            S3Error::Answer { .. } if source.is_transient() => None,
            S3Error::Answer { .. } | S3Error::Malformed { .. } => return Err(refused(name, source)),
            S3Error::Unroutable { .. } => Some(limits.unroutable),
            S3Error::Unresolved { .. } | S3Error::Refused { .. } | S3Error::Broken { .. } => {
                Some(limits.unreachable)
            }
        };
        if patience.is_none() {
            heard = Instant::now();
        }
        tracing::debug!(error = %source, "the bucket gave no answer yet");
        if begun.elapsed() + PAUSE >= limits.total {
            return Err(ConnectError::Silent { bucket: name, waited: begun.elapsed(), source });
        }
        if patience.is_some_and(|patience| heard.elapsed() + PAUSE >= patience) {
            return Err(ConnectError::Unreachable { bucket: name, waited: begun.elapsed(), source });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn refused(bucket: String, source: S3Error) -> ConnectError {
    let code = source.code().unwrap_or("no code").to_owned();
    match (source.status(), source.code()) {
        (Some(404), Some("NoSuchBucket")) => ConnectError::BucketNotFound { bucket },
        (Some(401 | 403), _) => ConnectError::InvalidCredentials { bucket, code },
        (Some(400), _) => ConnectError::BadRequest { bucket, code },
        _ => ConnectError::Answer { bucket, source },
    }
}
