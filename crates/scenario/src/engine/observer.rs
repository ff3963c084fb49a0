//! Telling whoever watches a run how it goes.

use std::path::PathBuf;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::summary::ScenarioResult;

/// What happens in a run, as it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run starts.
    RunStarted {
        /// How many scenarios it has.
        scenarios: usize,
        /// Its seed.
        seed: u64,
        /// The backend's name.
        backend: &'a str,
    },
    /// A scenario starts.
    ScenarioStarted {
        /// Its name.
        name: &'a str,
    },
    /// A scenario comes to another part of its work.
    Phase {
        /// The scenario's name.
        name: &'a str,
        /// The part: `up`, `setup`, a step's title, `cleanup`, `down`.
        phase: &'a str,
    },
    /// A scenario has ended.
    ScenarioEnded {
        /// How.
        result: &'a ScenarioResult,
    },
}

/// How to look around in a lab that is kept up.
#[derive(Clone, Debug)]
pub struct PauseInfo {
    /// The scenario's name.
    pub scenario: String,
    /// Lines of `export NAME=value` that lead to the lab.
    pub environment: Vec<(String, String)>,
    /// Kubeconfig of its API server.
    pub kubeconfig: PathBuf,
    /// What failed, in words.
    pub failure: String,
    /// Whether it is up until the run is stopped (`--keep`) or until somebody says to go on.
    pub keep: bool,
}

/// Somebody who watches a run.
pub trait Observer: Send + Sync {
    /// Is told of an event. Must not block.
    fn notify(&self, event: &Event<'_>);

    /// Called while a lab is kept up; the scenario goes on when the future is ready.
    fn pause(&self, info: PauseInfo) -> BoxFuture<'_, ()>;
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn notify(&self, _event: &Event<'_>) {}

    fn pause(&self, _info: PauseInfo) -> BoxFuture<'_, ()> {
        futures::future::ready(()).boxed()
    }
}
