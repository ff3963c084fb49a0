//! Progress on standard error: moving lines on a terminal, one line a scenario elsewhere.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, stderr, stdin};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::engine::{Event, Observer, PauseInfo, ScenarioResult};

/// An [`Observer`] for people. Nothing of it goes to standard output, which is for results.
#[derive(Debug)]
pub struct Progress {
    lines: Option<MultiProgress>,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Moving lines when standard error is a terminal, plain ones when it isn't.
    pub fn new() -> Self {
        let lines = stderr().is_terminal().then(MultiProgress::new);
        Self { lines, bars: Mutex::default() }
    }

    fn say(&self, text: &str) {
        match &self.lines {
            // A line that can't be written has nobody to read it.
            Some(lines) => drop(lines.println(text)),
            None => eprintln!("{text}"),
        }
    }

    fn bars(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ProgressBar>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, name: &str) {
        let Some(lines) = &self.lines else { return };
        let bar = lines.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        self.bars().insert(name.to_owned(), bar);
    }

    fn end(&self, result: &ScenarioResult) {
        if let Some(bar) = self.bars().remove(&result.name) {
            bar.finish_and_clear();
        }
        let time = result.elapsed.as_secs_f64();
        self.say(&format!("{} {} ({time:.2} s)", result.verdict.word(), result.name));
    }
}

impl Observer for Progress {
    fn notify(&self, event: &Event<'_>) {
        match event {
            Event::RunStarted { scenarios, seed, backend } => {
                self.say(&format!("{scenarios} scenarios on {backend}, seed {seed}"));
            }
            Event::ScenarioStarted { name } => self.begin(name),
            Event::Phase { name, phase } => {
                if let Some(bar) = self.bars().get(*name) {
                    bar.set_message((*phase).to_owned());
                }
            }
            Event::ScenarioEnded { result } => self.end(result),
        }
    }

    fn pause(&self, info: PauseInfo) -> BoxFuture<'_, ()> {
        self.say(&format!("\n{} is kept up. It failed at:\n{}", info.scenario, info.failure));
        for (name, value) in &info.environment {
            self.say(&format!("  export {name}='{value}'"));
        }
        if info.keep {
            self.say("Ctrl-C takes it down.");
            return futures::future::pending().boxed();
        }
        self.say("Enter goes on.");
        async {
            let line = tokio::task::spawn_blocking(|| stdin().lock().read_line(&mut String::new()));
            // Without a standard input there is nobody to wait for.
            drop(line.await);
        }
        .boxed()
    }
}
