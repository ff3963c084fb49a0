//! The mounted bucket beside other file systems: the same operations, and what each answers.
#![allow(
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "test code: a failed expectation ends the test"
)]

mod cases;
#[path = "../common/mod.rs"]
mod common;
mod listed;
mod local;
mod notes;
mod s3fs;
mod steps;
