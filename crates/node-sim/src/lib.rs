//! The node: scheduler, kubelet and container runtime in one library.
//!
//! ```text
//! API ── pods ─► Node ── one worker per pod ── one supervisor per container
//!  ▲              │                                  │
//!  └─ status, ────┘                                  └─► shim ── forks ─► processes in namespaces
//!     events                                                              (overlay root, volumes, pod's network)
//! ```
//!
//! Pods run as real processes in Linux namespaces. A pod has network, IPC and UTS namespaces of its own and an address
//! on the lab's bridge; a container has mount and PID namespaces, an overlay root made from the machine's program
//! folders only, and its volumes with the propagation that its definition asks for. The API server is out of a pod's
//! reach, so its containers get no `KUBERNETES_SERVICE_HOST`, although they may have a service account token. The whole node is meant to live
//! in an [`enclosure`], from which nothing leaks: its mounts and links are made in the namespaces of whoever runs it.
#![warn(missing_docs)]

mod catalogue;
mod checkpoints;
pub mod enclosure;
mod events;
mod freezer;
mod leftovers;
mod logs;
mod mounts;
mod network;
mod node;
mod pod;
mod policies;
mod read_only;
mod readiness;
mod registration;
mod runtime;
pub mod shim;
mod watch;

pub use catalogue::{Addition, BaseError, Catalogue, EXECUTABLE_IN_IMAGE};
pub use leftovers::Leftover;
pub use logs::{LogLine, LogReader};
pub use network::{
    InvalidSubnet, NetworkError, NetworkOptions, PacketFilter, PodLink, Subnet, try_packet_filter,
};
pub use node::{CommandResult, NODE_NAME, Node, NodeError, NodeOptions};
pub use runtime::Program;

/// An error and everything that caused it, in one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
