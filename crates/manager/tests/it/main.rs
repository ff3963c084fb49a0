//! The manager against the embedded API server, with a double for the runtime in each pod.
#![allow(clippy::expect_used, clippy::panic, reason = "this whole program is a test")]

mod claims;
mod envd;
mod gateway;
mod lab;
mod life;
mod mounts;
mod pausing;
mod requests;
mod sdk;
mod snapshots;
