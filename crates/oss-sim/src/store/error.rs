//! Why the store refused.

/// What the store says instead of doing what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such bucket.
    #[error("bucket {0} does not exist")]
    NoSuchBucket(String),
    /// The bucket has no such key.
    #[error("key {key} does not exist in bucket {bucket}")]
    NoSuchKey {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// The multipart upload is unknown, completed or aborted.
    #[error("multipart upload {0} does not exist")]
    NoSuchUpload(String),
    /// A bucket of that name is there already.
    #[error("bucket {0} exists already")]
    BucketExists(String),
    /// The name breaks the rules for bucket names: 3 to 63 lower-case letters, digits, dots and hyphens.
    #[error("{0:?} is no bucket name: use 3 to 63 lower-case letters, digits, dots and hyphens")]
    InvalidBucketName(String),
    /// Only an empty bucket can be deleted.
    #[error("bucket {0} is not empty")]
    BucketNotEmpty(String),
    /// The object would not fit into the server's capacity.
    #[error("{needed} more bytes exceed the capacity of {capacity} bytes, of which {used} are used")]
    Full {
        /// Bytes that were to be added.
        needed: u64,
        /// Bytes that are stored.
        used: u64,
        /// The limit.
        capacity: u64,
    },
    /// A listed part was never uploaded or has another `ETag`.
    #[error("part {0} was not uploaded with that ETag")]
    InvalidPart(i32),
    /// The listed parts don't ascend.
    #[error("part {0} is listed after a part with a higher number")]
    InvalidPartOrder(i32),
    /// A part other than the last is too small.
    #[error("part {number} of {length} bytes is smaller than {minimum} bytes")]
    PartTooSmall {
        /// The part's number.
        number: i32,
        /// Its size.
        length: u64,
        /// What is asked of every part but the last.
        minimum: u64,
    },
    /// No parts are listed.
    #[error("the list of parts is empty")]
    NoParts,
    /// The object changed, or is there or missing against the request's condition.
    #[error("condition {0} does not hold")]
    Precondition(&'static str),
    /// A file of the store could not be read or written.
    #[error("stored bytes could not be read or written")]
    Io(#[from] std::io::Error),
}
