//! The scenario file, as types. The JSON Schema and `docs/scenarios.md` are made from them.

mod expectation;
mod object;
mod period;
mod program;
mod step;
mod storage;

use std::collections::BTreeMap;

use lab::Capability;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use expectation::{Count, EventPattern, Eventually, Expect, Holds, Order, Pattern, PoolExpectation};
pub use object::{ApplyStep, DeleteStep, GetStep, ObjectReference, PatchStep};
pub use period::Period;
pub use program::{JavaScriptStep, KubectlStep, PythonStep, SdkGeneration, ShellStep};
pub use step::{
    ACTIONS, AdoptStep, BodyMount, ConnectStep, CreateStep, DeleteSnapshotStep, FaultStep, HealStep,
    InfoStep, KillStep, ListStep, MountsStep, NetworkLists, OssStep, PauseStep, ReadStep, ResumeStep,
    RunStep, SandboxesStep, SnapshotStep, SnapshotsStep, Step, TimeoutStep, WriteStep,
};
pub use storage::{NasStep, Storage};

/// The only format there is so far.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ApiVersion {
    /// Version 1.
    #[serde(rename = "mountlab.dev/v1")]
    V1,
}

/// The kind of document.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Kind {
    /// One scenario.
    Scenario,
}

/// A scenario: what to put into a fresh lab, what to do, and what must then be true.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// The format: `mountlab.dev/v1`.
    pub api_version: ApiVersion,
    /// `Scenario`.
    pub kind: Kind,
    /// Its name and what it is for.
    pub metadata: Metadata,
    /// Files below `fixtures/` with Kubernetes objects, applied in this order before the first step. An object whose
    /// name occurs nowhere else makes its fixture unused, which is an error.
    #[serde(default)]
    pub fixtures: Vec<String>,
    /// Kubernetes objects, applied after the fixtures.
    #[serde(default)]
    pub objects: Vec<Value>,
    /// Values for the placeholders in fixtures and objects, in place of the lab's own:
    /// `YOUR_ACCESS_KEY_ID`, `YOUR_ACCESS_KEY_SECRET`, `OSS_BUCKET`, `OSS_ENDPOINT` and `NAS_SERVER`.
    #[serde(default)]
    pub placeholders: BTreeMap<String, String>,
    /// What the storage holds before the first step.
    #[serde(default)]
    pub storage: Storage,
    /// What the backend must have beyond what storage, steps and expectations tell by themselves. Where it lacks one of
    /// these, the scenario is skipped and says so.
    #[serde(default)]
    pub requires: Vec<Capability>,
    /// Limits that differ from the usual ones.
    #[serde(default)]
    pub limits: Limits,
    /// What is done, in order. The first step that fails ends the scenario.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Entries that the journal must have, or get within the limit `eventually` after the last step.
    #[serde(default)]
    pub eventually: Vec<Eventually>,
    /// Entries that the journal must not have at its end, cleanup included.
    #[serde(default)]
    pub never: Vec<Pattern>,
    /// How often entries must be in the journal at its end, cleanup included.
    #[serde(default)]
    pub count: Vec<Count>,
    /// Entries that must have come one after the other.
    #[serde(default)]
    pub order: Vec<Order>,
    /// What must have happened to warm pools between the first step and the cleanup.
    #[serde(default)]
    pub pools: Vec<PoolExpectation>,
    /// Whether mounts, processes and links must be gone once every sandbox is.
    #[serde(default = "yes")]
    pub nothing_left: bool,
}

/// What a scenario is called and why it is there.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Unique among the scenarios of a run; letters, digits and hyphens.
    pub name: String,
    /// The rows of the contract that it shows, such as `R44`, and of the failure matrix, such as `F38`.
    #[serde(default)]
    pub covers: Vec<String>,
    /// What it shows, in a sentence or two.
    #[serde(default)]
    pub description: Option<String>,
}

/// Named limits. Every message about one that passed says its name.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// For the lab to come up.
    pub up: Period,
    /// For every SandboxSet of the fixtures to have all its replicas available.
    pub ready: Period,
    /// For one step that doesn't say `timeout` itself.
    pub step: Period,
    /// For an entry of `eventually`, and for what `pools` says of consumed sandboxes.
    pub eventually: Period,
    /// For every sandbox and what belongs to it to be gone after the last step.
    pub cleanup: Period,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            up: Period::seconds(60),
            ready: Period::seconds(60),
            step: Period::seconds(60),
            eventually: Period::seconds(10),
            cleanup: Period::seconds(30),
        }
    }
}

fn yes() -> bool {
    true
}
