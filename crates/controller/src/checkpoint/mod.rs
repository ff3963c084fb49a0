//! The Checkpoint reconciler (`kubernetes.md` §6, `docs/design/0015-checkpoints.md`).
//!
//! ```text
//! Checkpoint + Sandbox + pod + node + now ─► decide ─► order, release, delete; status; next deadline
//!                                               │
//!                                            act: the companion SandboxTemplate first, the order for the node next,
//!                                                 phase Creating last: the node begins when it sees that
//! ```
//! The files are the node's. It has the Checkpoint's finalizer to itself: from the order on until it removed them.

mod act;
mod decide;

pub(crate) use act::reconcile;
pub use decide::{CheckpointAction, CheckpointDecision, NodePower, Observed, decide};
