//! Scenarios: the file format, the engine that runs them on a lab, and the reports.
//!
//! ```text
//! files ──read──► Plan ──engine (lab, journal)──► Summary ──report──► table, report.json, junit.xml, report.html
//! ```
//!
//! A scenario says what a fresh lab holds, what is done, and what must be true. What must be true is asked of the
//! outcome of a step, or of the journal, which has everything that happened: a state that lasted 20 ms is still seen.
//! Files are strict: an unknown field, a misspelt matcher, a fixture that nothing uses or a scenario that expects
//! nothing is refused with its line, its column and the nearest name.
#![warn(missing_docs)]

mod buckets;
mod engine;
mod explain;
mod javascript;
pub mod matching;
pub mod model;
mod objects;
mod packages;
mod programs;
mod python;
pub mod read;
mod reference;
mod reference_page;
mod report;
mod schema;

use std::path::PathBuf;

pub use buckets::{BucketError, create_bucket};
pub use engine::{
    Event, Failure, Observer, Options, Part, PauseInfo, RunError, ScenarioResult, Silent, StepResult,
    Summary, Verdict, run,
};
pub use explain::explain;
pub use read::{Plan, Planned, Problem, Problems, load};
pub use reference_page::reference_page;
pub use report::{Style, render_failures, render_table};
pub use schema::schema;

/// Reads and checks scenario files without running anything; says how many scenarios they hold.
///
/// # Errors
/// [`Problems`] with everything that is wrong in any of them.
pub fn check(paths: &[PathBuf]) -> Result<usize, Problems> {
    load(paths).map(|plan| plan.scenarios.len())
}
