//! A report folder, as far as it is compared.

use std::fs;
use std::path::Path;

use journal::Entry;
use serde::Deserialize;

use crate::ParityError;

/// One run of scenarios on one backend.
#[derive(Clone, Debug)]
pub struct Report {
    /// `embedded`, `kind` or `cluster`.
    pub backend: String,
    /// How long the whole run took, in seconds.
    pub seconds: f64,
    /// Its scenarios in the order of the report.
    pub runs: Vec<Run>,
}

/// One scenario of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The scenario's name.
    pub name: String,
    /// `held`, `failed`, `skipped` or `stopped`.
    pub verdict: String,
    /// Why it wasn't run, for one that was not.
    pub reason: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The folder of its report as the run called it.
    pub folder: String,
    /// What happened; empty for one that was not run.
    pub journal: Vec<Entry>,
}

/// `report.json`, the fields that are needed here.
#[derive(Deserialize)]
struct Summary {
    backend: String,
    seconds: f64,
    scenarios: Vec<Scenario>,
}

/// One scenario of `report.json`.
#[derive(Deserialize)]
struct Scenario {
    name: String,
    verdict: String,
    reason: Option<String>,
    seconds: f64,
    folder: String,
}

impl Report {
    /// Reads the folder that `mountlab run --report` wrote.
    ///
    /// # Errors
    /// [`ParityError`] when a file is missing or isn't what a run writes.
    pub fn read(folder: &Path) -> Result<Self, ParityError> {
        let path = folder.join("report.json");
        let summary: Summary =
            serde_json::from_str(&text(&path)?).map_err(|error| invalid(&path, &error.to_string()))?;
        let runs = summary.scenarios.into_iter().map(|scenario| {
            let Scenario { name, verdict, reason, seconds, folder: called } = scenario;
            let journal = if reason.is_some() { Vec::new() } else { entries(&folder.join(&name))? };
            Ok(Run { name, verdict, reason, seconds, folder: called, journal })
        });
        let runs = runs.collect::<Result<_, ParityError>>()?;
        Ok(Self { backend: summary.backend, seconds: summary.seconds, runs })
    }
}

/// A scenario's journal.
fn entries(folder: &Path) -> Result<Vec<Entry>, ParityError> {
    let path = folder.join("journal.jsonl");
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| invalid(&path, &format!("line {}: {error}", number + 1)))
    };
    text(&path)?.lines().enumerate().map(parse).collect()
}

fn text(path: &Path) -> Result<String, ParityError> {
    fs::read_to_string(path).map_err(|source| ParityError::Unreadable { path: path.to_owned(), source })
}

fn invalid(path: &Path, problem: &str) -> ParityError {
    ParityError::Invalid { path: path.to_owned(), problem: problem.to_owned() }
}
