//! What a run came to.

use std::path::PathBuf;
use std::time::Duration;

use lab::Kept;
use serde::{Serialize, Serializer};

use super::failure::Failure;

/// What every scenario of a run came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The backend's name.
    pub backend: String,
    /// What a paused sandbox keeps on that backend.
    pub kept: Kept,
    /// The seed.
    pub seed: u64,
    /// How long it all took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// The scenarios, in the order of the plan.
    pub scenarios: Vec<ScenarioResult>,
}

impl Summary {
    /// The program's exit status: 0 when every scenario held or was skipped with a name, 1 when one failed or the
    /// run was stopped, 3 when this machine can't run it.
    pub fn exit_status(&self) -> u8 {
        let any = |wanted: fn(&Verdict) -> bool| self.scenarios.iter().any(|result| wanted(&result.verdict));
        if any(|verdict| matches!(verdict, Verdict::Machine { .. })) {
            return 3;
        }
        u8::from(self.stopped || any(|verdict| matches!(verdict, Verdict::Failed | Verdict::Stopped)))
    }
}

/// What one scenario came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioResult {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// The rows of the contract that it shows.
    pub covers: Vec<String>,
    /// What it shows, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Everything that did not hold.
    pub failures: Vec<Failure>,
    /// The steps that were run.
    pub steps: Vec<StepResult>,
    /// How long its parts took, in order.
    pub parts: Vec<Part>,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// How many journal entries there are.
    pub entries: usize,
    /// Its folder in the report.
    pub folder: PathBuf,
}

/// How a scenario ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "verdict")]
pub enum Verdict {
    /// Everything held.
    Held,
    /// Something did not.
    Failed,
    /// Not run, for a reason that was known before.
    Skipped {
        /// What is lacking.
        reason: String,
    },
    /// The run was stopped before its end.
    Stopped,
    /// This machine lacks something that the backend needs.
    Machine {
        /// What, and how to get it.
        reason: String,
    },
}

impl Verdict {
    /// One word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Skipped { .. } => "skipped",
            Self::Stopped => "stopped",
            Self::Machine { .. } => "cannot run",
        }
    }
}

/// What one step came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepResult {
    /// Its number, from 1.
    pub number: usize,
    /// What it does, on one line.
    pub title: String,
    /// Its line in the file, from 1.
    pub line: usize,
    /// Whether it held.
    pub held: bool,
    /// When it began, since the scenario did.
    #[serde(rename = "atSeconds", serialize_with = "seconds")]
    pub at: Duration,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// How long a part of a scenario took.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Its name: `up`, `setup`, `ready`, `steps`, `expectations`, `cleanup`, `down`.
    pub name: &'static str,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e6)
}
