//! The E2B-compatible API server and gateway of an Agent Sandbox cluster, as a library.
//!
//! ```text
//! E2B SDK ──► Manager::router ─┬─► control plane (api) ──► claim ──► Kubernetes API, runtime in the pod
//!                              └─► gateway ──► http://<pod>:<port>, streamed both ways
//! ```
//!
//! A [`Manager`] keeps sandboxes, their pools and API keys in caches that watches keep up to date, so reads, routing
//! and picking a pooled sandbox cost no call. A create is one conditional write, the handshake with the runtime, the
//! mounts, and one write that acknowledges the claim; until that last write nobody sees the sandbox, and whatever goes
//! wrong, or a caller who hangs up, gives it back.
//!
//! The facts behind all this are in the contract: `e2b-api.md`, `kubernetes.md` §3.7 and `storage.md` §1 to §3.

mod announce;
mod api;
mod claim;
mod command;
mod deadlines;
mod error;
mod gateway;
mod id;
mod keys;
mod manager;
mod measure;
mod options;
mod quantity;
mod sandboxes;

pub use command::main;
pub use keys::wrapped;
pub use manager::{Background, Manager, SetupError};
pub use measure::Metrics;
pub use options::ManagerOptions;
pub use runtime_client::{RuntimeCertificates, RuntimeSetupError};
pub use sandboxes::UNACKNOWLEDGED;
