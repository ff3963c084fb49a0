//! Whole-system tests: they drive the built program `mountlab` from outside, as its users do, with the tools that
//! its users have (`kubectl`, the official SDKs, boto3, s3fs).
//!
//! ```text
//! tests/*.rs ──► Up (mountlab up) ──► Kubectl, Script (python, node) ──► assertions
//!           └──► mountlab() (any other verb)
//! ```
//!
//! A test fails when something is missing that `make test` installs; it never passes without having looked.
//! The programs of SDKs live in environments below the target folder that are made once and kept
//! ([`environment`]); the scripts they run are in `python/` and `javascript/`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "helpers of tests fail the test"
)]

pub mod environment;
mod fixtures;
mod kubectl;
pub mod machine;
mod program;
mod script;
mod up;
mod verdicts;
mod wait;

pub use fixtures::{fixture, repository};
pub use kubectl::{DOCUMENT_SET, Kubectl};
pub use program::{mountlab, program, target};
pub use script::{Outcome, run, run_with_input};
pub use up::Up;
pub use verdicts::assert_same_verdicts;
pub use wait::{wait_until, within};
