//! envd and the storage mounts over real sockets, with real processes, directories and a CSI driver's double.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers of tests fail like tests"
)]

mod files;
mod filesystem;
mod helper;
mod http;
mod install;
mod process;
mod program;
mod sdk;
mod storage;
mod support;
mod terminal;
mod tls;
mod watch;
