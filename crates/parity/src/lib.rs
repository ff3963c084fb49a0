//! Did two runs of the same scenarios go the same way?
//!
//! Two report folders come in, from two backends or from two versions. Each scenario's journal is reduced to its
//! [`Story`]: what the user saw, what was asked of the API and of the drivers, which mounts appeared, which states
//! the objects went through. What differs from run to run by nature (names, times, addresses) is taken out by
//! [`Normaliser`]s that have names, so that a reader knows what was *not* compared. What remains different is a
//! [`Difference`]; one that is known stands in a file of [`Reasons`], and an entry of that file that explains
//! nothing any more is an error.

mod compare;
mod error;
mod normalise;
mod page;
mod reasons;
mod report;
mod story;

pub use compare::{Comparison, Difference, Pair, Side, Verdicts, compare};
pub use error::ParityError;
pub use normalise::{Normaliser, Normalisers};
pub use page::{page, table};
pub use reasons::{Reason, Reasons};
pub use report::{Report, Run};
pub use story::{Measure, Story, Stream, Times};
