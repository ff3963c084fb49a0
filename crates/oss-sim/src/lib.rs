//! An embedded S3 server: the object store that stands for OSS in a lab.
//!
//! ```text
//! TcpListener ─► service: operation named, faults, journal
//!                    └─► s3s: signature, access, protocol
//!                            └─► backend: the operations
//!                                    └─► store: metadata in memory, bytes in files
//! ```
//!
//! Signatures of version 4 (header, presigned URL, chunked payloads) and 2 are checked; an unknown AccessKey gets
//! 403 `InvalidAccessKeyId`, a wrong secret 403 `SignatureDoesNotMatch`, a key without the right 403 `AccessDenied`,
//! a missing bucket 404 `NoSuchBucket` (`storage.md` §6.3). Faults are data ([`lab::OssFault`]) and strike in front of
//! all that.
#![warn(missing_docs)]

mod access;
mod backend;
mod body;
mod door;
mod fault;
mod operation;
mod server;
mod service;
mod store;

pub use access::{Access, Permission};
pub use fault::{FaultError, FaultId};
pub use server::{ObjectSummary, OssOptions, OssSim};
pub use store::StoreError;
