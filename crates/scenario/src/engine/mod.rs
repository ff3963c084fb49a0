//! Runs a [`Plan`] on a backend: one lab per scenario, several at once, as far as they get along ([`company`]).
//!
//! ```text
//! up ─► seed buckets ─► apply objects ─► pools ready ─► steps ─► eventually, pools
//!    ─► kill sandboxes ─► nothing left ─► never, count, order ─► no secret shown ─► report folder ─► down
//! ```

mod background;
mod cleanup;
mod company;
mod context;
mod failure;
mod judge;
mod needs;
mod observer;
mod pools;
mod record;
mod scenario;
mod secrecy;
mod setup;
mod steps;
mod summary;

use std::path::PathBuf;
use std::sync::Arc;

use clock::SharedClock;
use lab::Backend;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use failure::Failure;
pub use observer::{Event, Observer, PauseInfo, Silent};
pub(crate) use steps::title;
pub use summary::{Part, ScenarioResult, StepResult, Summary, Verdict};

use crate::read::{Plan, Planned};
use crate::report;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many scenarios run at once; 0 means 1.
    pub jobs: usize,
    /// Seed of whatever is drawn by chance; printed, so that a run can be repeated.
    pub seed: u64,
    /// Where the report goes.
    pub report: PathBuf,
    /// Leave a failed scenario's lab up until the run is stopped.
    pub keep: bool,
    /// Pause at a failed scenario before anything of it is cleaned up.
    pub pause_on_failure: bool,
    /// Only scenarios whose name contains this text.
    pub filter: Option<String>,
    /// Where things are kept between runs, such as the official SDKs of Python and JavaScript.
    pub cache: PathBuf,
    /// The clock that signs requests to the object store from outside.
    pub clock: SharedClock,
}

/// A run that could not be made at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The report can't be written.
    #[error("{action} {path} failed")]
    Report {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The scenarios ran; what came of them is here, as the report isn't whole.
    #[error("the scenarios ran, but the report is not whole")]
    Unreported {
        /// What came of them.
        summary: Box<Summary>,
        /// What was not written.
        #[source]
        source: Box<RunError>,
    },
    /// The filter leaves nothing.
    #[error("no scenario's name contains `{filter}`; there are: {names}")]
    NothingToRun {
        /// The filter.
        filter: String,
        /// The names there are.
        names: String,
    },
}

/// Runs every scenario that the filter leaves and writes the report. When `stop` is cancelled the scenarios that
/// run end at once, those that don't yet never start, and the report is written all the same.
///
/// # Errors
/// [`RunError`] when nothing is to be run, or the report can't be written. A failed scenario is no error.
pub async fn run(
    plan: &Plan,
    backend: &dyn Backend,
    options: &Options,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
) -> Result<Summary, RunError> {
    let chosen = choose(plan, options.filter.as_deref())?;
    report::prepare(&options.report)?;
    let begun = Instant::now();
    observer.notify(&Event::RunStarted {
        scenarios: chosen.len(),
        seed: options.seed,
        backend: backend.name(),
    });
    let run = Run { backend, options, observer: observer.as_ref(), stop: &stop };
    let waiting = company::in_order(chosen, backend.shared());
    let start = |planned, sharing, place| run.scenario(planned, sharing, place);
    let mut results = company::run_all(waiting, options.jobs, start).await;
    results.sort_by_key(|(number, _)| *number);
    let summary = Summary {
        backend: backend.name().to_owned(),
        kept: backend.kept(),
        seed: options.seed,
        elapsed: begun.elapsed(),
        stopped: stop.is_cancelled(),
        scenarios: results.into_iter().map(|(_, result)| result).collect(),
    };
    match report::write(&options.report, &summary, &options.clock) {
        Ok(()) => Ok(summary),
        Err(error) => Err(RunError::Unreported { summary: Box::new(summary), source: Box::new(error) }),
    }
}

fn choose<'a>(plan: &'a Plan, filter: Option<&str>) -> Result<Vec<&'a Planned>, RunError> {
    let name = |planned: &&Planned| planned.scenario.metadata.name.clone();
    let fits = |planned: &&Planned| filter.is_none_or(|filter| name(planned).contains(filter));
    let chosen: Vec<_> = plan.scenarios.iter().filter(fits).collect();
    match filter {
        Some(filter) if chosen.is_empty() => {
            let names: Vec<_> = plan.scenarios.iter().map(|planned| name(&planned)).collect();
            Err(RunError::NothingToRun { filter: filter.to_owned(), names: names.join(", ") })
        }
        _ => Ok(chosen),
    }
}

/// What all scenarios of a run share.
struct Run<'a> {
    backend: &'a dyn Backend,
    options: &'a Options,
    observer: &'a dyn Observer,
    stop: &'a CancellationToken,
}
