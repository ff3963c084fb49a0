//! The real `kubectl` against a served instance.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

#[path = "../common/mod.rs"]
mod common;
mod custom;
mod everyday;
mod lab;
mod ownership;
