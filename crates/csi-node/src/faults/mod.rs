//! Faults at the calls of the Node service, as data: wrapped around it, never inside (`docs/design/0009`).
//!
//! ```text
//! connection ─► FaultyNode ─► does a rule strike? ─no─► NodeService
//!     ▲             │                            yes
//!     └── closed ◄──┴── work (before | after | not at all), wait, answer
//! ```
//!
//! Rules come from a folder that the lab writes to, one file each, and from the image itself. Every agent of a node
//! reads the same folder, so "the second call" is counted over all of them.

mod connection;
mod rules;
mod service;
mod strike;

pub(crate) use connection::CuttableStream;
pub use rules::{FaultOptions, FaultOptionsError, Faults};
pub use service::FaultyNode;
