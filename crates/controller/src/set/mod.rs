//! The SandboxSet reconciler (`kubernetes.md` §3).
//!
//! ```text
//! set + members + what is outstanding + now ─► plan ─► create n, remove dead, scale down, roll; status, conditions
//!                                                │
//!                                     act: revision first, then the writes in batches
//! ```
//! Members are the Sandboxes whose controller owner has the set's UID; labels don't count. A member is removed in two
//! writes: a lock with the version that was seen, then the delete. Whoever claims it in between wins. A template that
//! is missing or can't be used stops creating and replacing; what is there stays, and a condition says why.

mod act;
mod conditions;
mod generate;
mod history;
mod plan;
mod remove;
mod revision;
mod victims;

pub(crate) use act::reconcile;
pub use generate::sandbox as generated_sandbox;
pub use history::{KEPT as KEPT_TEMPLATES, Marks, marks};
pub(crate) use plan::scaled;
pub use plan::{Observed, Plan, plan};
pub(crate) use revision::{Remembered, draft_for};
