//! Comparing what was expected with what was.

mod pattern;
mod value;

pub(crate) use pattern::CompiledPattern;
pub use value::{Difference, MATCHERS};
pub(crate) use value::{check_matchers, differences, is_matcher, preview};
