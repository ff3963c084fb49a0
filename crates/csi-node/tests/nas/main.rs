//! NAS volumes: real FUSE mounts of a real NFS server, and what the server holds then.
#![allow(
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "test code: a failed expectation ends the test"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../sanity/mod.rs"]
mod sanity;

mod basics;
mod conformance;
mod failures;
mod model;
mod publishing;
mod restarts;
mod sharing;
mod speed;
mod support;
