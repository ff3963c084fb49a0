//! The Sandbox reconciler (`kubernetes.md` §5).
//!
//! ```text
//! Sandbox + pod + storage + now ─► decide ─► actions (create pod, delete, …), status, events, next deadline
//!                                       │
//!                                    act: the API calls; a pod that can't be made ends up in the status
//!                                    in_place: what of a changed template reaches the running pod
//!                                    initialise: the runtime of a replaced container and its mounts, beside the turns
//! ```

mod act;
mod containers;
mod deadlines;
mod decide;
mod hook;
mod in_place;
mod initialisation;
mod initialise;
mod of_generation;
mod pause;
mod pod;
mod ready;
mod resume;
mod status;
mod upgrade;
mod wake;

pub(crate) use act::reconcile;
pub use decide::{Action, Decision, decide, decide_with};
pub use hook::Hook;
pub use initialisation::{Attempt, Progress};
pub(crate) use initialise::Initialisations;
pub use pod::{PodParts, build as build_pod};
pub(crate) use status::{difference, merge_patch};
