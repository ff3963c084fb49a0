//! What manager and controller do with the runtime (envd) inside a sandbox.
//!
//! ```text
//! mounts asked for ──► resolve_mounts (PV, Secret) ──┐
//!                                                    ▼
//! Sandbox ──► endpoint ──► POST /init ──► mount_all ──► POST /v1/storage/mounts, at most three at a time
//! ```
//!
//! The manager does this when a sandbox is claimed, the controller when a claimed sandbox's main container has been
//! replaced. Both get the same errors: a [`Problem`](contract::errors::Problem) with a stable code, without secrets.

mod client;
mod egress;
mod handshake;
mod hibernation;
mod hook;
mod kubernetes;
mod mounting;
mod redaction;
mod tls;
mod unmounting;
mod volumes;

pub use client::{Answer, CallError, Endpoint, RuntimeClient};
pub use egress::explain;
pub use handshake::{Handshake, InitRequest};
pub use hibernation::may_hibernate;
pub use hook::HookFailure;
pub use kubernetes::{is_conflict, is_not_found, is_transient, kubernetes_problem};
pub use mounting::Failures;
pub use tls::{RuntimeCertificates, RuntimeSetupError};
pub use unmounting::Links;
pub use volumes::resolve_mounts;
