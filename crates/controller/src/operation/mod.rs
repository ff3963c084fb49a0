//! The `SandboxUpdateOps` reconciler (`kubernetes.md` §7.2).
//!
//! ```text
//! SandboxUpdateOps + sandboxes of its namespace + now ─► decide ─► patches of sandboxes, status, events
//!                                                          │
//!                                     class: what each sandbox is to the operation, by its labels and conditions
//!                                     step:  what is written into a sandbox, against the version that was looked at
//! ```
//! Everything is in the objects: which operation a sandbox belongs to is its label, how far its upgrade is its condition
//! Upgrading. The upgrade itself is the Sandbox reconciler's.

mod act;
mod class;
mod decide;
mod status;
mod step;
mod template;

pub(crate) use act::reconcile;
pub use decide::{Observed, OperationAction, OperationDecision, decide};
