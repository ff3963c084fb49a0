//! The `SandboxClaim` reconciler (`kubernetes.md` §7.1).
//!
//! ```text
//! SandboxClaim + set + sandboxes claimed + attempts + now ─► decide ─► status, events, next deadline
//!                                                               │
//!                                                            attempts: one task for each sandbox, beside the turns
//!                                                               request: checks, volumes, Secrets; nothing is taken yet
//!                                                               claim (the crate): pick, write, initialise, mount
//! ```
//! Half-claimed sandboxes belong to their attempt; when it is stopped, or this process dies, they are given back.

mod act;
mod attempts;
mod decide;
mod request;

pub(crate) use act::reconcile;
pub(crate) use attempts::Attempts;
pub use decide::{ClaimAction, ClaimDecision, Observed, Trouble, decide};
