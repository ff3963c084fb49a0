//! Ways to merge objects that depend on which lists have keys.

pub(crate) mod lists;
pub(crate) mod strategic;
