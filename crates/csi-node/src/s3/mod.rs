//! A small S3 client: the requests that the OSS mounter makes, and no more.
//!
//! ```text
//! objects, uploads, listing   what is asked for, and what the answer means
//!            │
//!        transport            attempts, limits, connections (hyper, rustls)
//!            │
//!   endpoint, sign            where a bucket is, and Signature Version 4 in headers
//! ```
//!
//! Requests are signed in headers and never in the address: an address ends up in logs and error texts, and
//! `storage.md` §9 row 38 lets neither the key id nor a signature leak. Bodies are not hashed (`UNSIGNED-PAYLOAD`).

mod endpoint;
mod error;
mod listing;
mod objects;
mod payload;
mod sign;
mod transport;
mod uploads;
mod xml;

pub use endpoint::{Endpoint, EndpointError};
pub use error::{EGRESS_MAY_BE_FORBIDDEN, S3Error};
pub use listing::{Listed, Page};
pub use objects::{Metadata, ObjectBody, ObjectInfo};
pub use payload::Payload;
pub use sign::Credentials;
pub use transport::{Bucket, BucketOptions, Limits};
pub use uploads::Part;
