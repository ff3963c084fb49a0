//! The embedded backend: the whole system in namespaces of its own, without Docker, network or cluster.
//!
//! ```text
//!  outside (mountlab run)                 inside (mountlab lab-init: new PID, mount, network, IPC, UTS namespaces)
//!  ┌──────────────────────┐  sockets      ┌─────────────────────────────────────────────────────────┐
//!  │ EmbeddedLab          │── handed in ─►│ API server · controller · manager · object store · node │
//!  │  journal (adopted)   │◄─ control ───►│  └─ pods: agent-runtime, csi-sidecar, sandbox           │
//!  └──────────────────────┘   channel     └─────────────────────────────────────────────────────────┘
//! ```
//!
//! The listening sockets that people use are opened outside and handed in, so they belong to the caller's network
//! while everything else of the lab lives in a network of its own. When the first process of the PID namespace ends,
//! for whatever reason, the kernel takes every process, mount and interface of the lab with it: nothing can leak,
//! not even after SIGKILL. Outside and inside talk over one socket pair (`protocol`).

mod backend;
mod channel;
mod inside;
mod machine;
mod protocol;
mod remote;

pub use backend::Embedded;
pub use inside::main as init_main;

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
