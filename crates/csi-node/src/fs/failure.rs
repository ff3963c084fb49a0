//! From what went wrong to the error number that a program sees.

use std::io;

use fuser::Errno;

use crate::s3::S3Error;

/// Result of a file operation.
pub(super) type Outcome<T> = Result<T, Errno>;

/// Codes with which stores say that they are full.
const FULL: [&str; 5] =
    ["QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "EntityTooLarge", "BucketQuotaExceeded"];

/// The error number for `error`. What isn't plain "not found" is told to the log as well: a program shows its user
/// the number only.
pub(super) fn errno(error: &S3Error) -> Errno {
    let number = match (error.status(), error.code()) {
        (Some(404), Some("NoSuchBucket")) => Errno::EIO,
        (Some(404), _) => return Errno::ENOENT,
        (Some(507), _) => Errno::ENOSPC,
        (Some(_), Some(code)) if FULL.contains(&code) => Errno::ENOSPC,
        (Some(401 | 403 | 405), _) => Errno::EPERM,
        _ => Errno::EIO,
    };
    tracing::warn!(%error, errno = number.code(), "a file operation failed");
    number
}

/// The error number for a failure of the local scratch file.
pub(super) fn local(error: &io::Error) -> Errno {
    tracing::warn!(%error, "the scratch file failed");
    match error.raw_os_error() {
        Some(number) if number == Errno::ENOSPC.code() => Errno::ENOSPC,
        _ => Errno::EIO,
    }
}
