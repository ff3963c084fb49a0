//! The server as a client of somebody else's making sees it.
#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by it")]

mod client;
mod confinement;
mod directories;
mod faults;
mod files;
mod mounting;
mod permissions;
mod programs;
