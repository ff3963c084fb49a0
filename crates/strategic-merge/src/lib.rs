//! Strategic merge patches of Kubernetes' built-in kinds: merge patches that know which lists are merged by key.
//!
//! The lab's API server serves them; the controller applies the patch of a `SandboxUpdateOps` to pod templates, which
//! no API server does for it: a template without a schema has no keys there.
#![warn(missing_docs)]

mod lists;
mod merge;

pub use lists::{ListKind, of_builtin};
pub use merge::merge;
