//! The Sandbox reconciler (`kubernetes.md` §5).
//!
//! ```text
//! Sandbox + pod + storage + now ─► decide ─► actions (create pod, delete, …), status, events, next deadline
//!                                       │
//!                                    act: the API calls; a pod that can't be made ends up in the status
//!                                    recycle: back to the pool, with unmount beside the turns
//!                                    sleep: a paused sandbox's pod that its node keeps, and its waking
//!                                    in_place: what of a changed template reaches the running pod
//!                                    preserve: the files of an upgraded sandbox, by a Checkpoint
//!                                    initialise: the runtime of a replaced container and its mounts, beside the turns
//! ```

mod act;
mod containers;
mod create;
mod deadlines;
mod decide;
mod hook;
mod in_place;
mod initialisation;
mod initialise;
mod of_generation;
mod pause;
mod pod;
pub(crate) mod preserve;
mod preserved;
mod ready;
mod recycle;
mod recycled;
mod resume;
mod sleep;
mod status;
mod turn;
mod unmount;
mod upgrade;
mod wake;

pub(crate) use act::reconcile;
pub use decide::{Action, Circumstances, Decision, decide, decide_about, decide_with};
pub use hook::Hook;
pub use initialisation::{Attempt, Progress};
pub(crate) use initialise::Initialisations;
pub use pod::{PodParts, build as build_pod};
pub use preserve::{Answer, Kept};
pub use recycle::{Recycling, RecyclingLimits, Unmounting};
pub use sleep::Keeping;
pub(crate) use status::{difference, merge_patch};
pub(crate) use unmount::Unmounts;
