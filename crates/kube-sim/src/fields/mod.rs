//! Field ownership: who wrote which field, and server-side apply on top of it.
//!
//! ```text
//! Shape ── which lists have keys ──► Fields (a set of paths) ──► managedFields entries
//!                                        │
//!                     compare, merge, remove ──► track (updates), apply (configurations)
//! ```

pub(crate) mod apply;
pub(crate) mod compare;
pub(crate) mod managed;
#[cfg(test)]
mod properties;
pub(crate) mod set;
pub(crate) mod shape;
