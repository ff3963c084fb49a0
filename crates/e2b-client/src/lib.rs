//! A client of the E2B-compatible API: the control plane (sandboxes) and, through the gateway, envd in a sandbox
//! (commands and files).
//!
//! ```text
//! Client ── X-API-KEY ─────────────────────────────► manager     create, connect, get, list, timeout, pause, resume, kill
//! Sandbox ─ E2b-Sandbox-Id, -Port, X-Access-Token ─► gateway ──► envd     run, read, write, list, stat, …
//! ```
//!
//! It speaks configuration A of `e2b-api.md` §1.3: plain HTTP, one URL for the API and one for every sandbox.
//! Nothing is retried and no answer is softened: a caller sees the status, code and message that were sent, which is
//! what a test of the API needs and what the official SDKs hide in places (`e2b-api.md` §16).
#![warn(missing_docs)]

mod client;
mod commands;
mod error;
mod files;
mod frames;
mod request;
mod sandbox;
mod types;

pub use client::{Client, Settings};
pub use commands::{Command, CommandOutput};
pub use error::{ClientError, Code, Refusal};
pub use files::{FileEntry, FileKind};
pub use frames::{Frame, FrameDecoder, FrameError, LARGEST_FRAME};
pub use sandbox::Sandbox;
pub use types::{CreateRequest, ListQuery, NetworkRules, Reply, SandboxInfo, SnapshotInfo, VolumeMount};

/// The port that envd listens on in every sandbox.
pub const ENVD_PORT: u16 = 49983;
