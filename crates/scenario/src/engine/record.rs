//! What is found out about a scenario while it runs, and what of it is asked of the journal.

use std::path::PathBuf;
use std::time::Duration;

use lab::LabError;
use tokio::time::Instant;

use super::context::{Context, StepError};
use super::failure::{Failure, recent};
use super::summary::{Part, ScenarioResult, Verdict};
use super::{judge, pools};
use crate::read::Planned;

/// What is found out about a scenario while it runs.
pub(super) struct Record {
    pub(super) begun: Instant,
    place: String,
    pub(super) stopped: bool,
    pub(super) result: ScenarioResult,
}

impl Record {
    pub(super) fn new(planned: &Planned, folder: PathBuf) -> Self {
        let metadata = &planned.scenario.metadata;
        Self {
            begun: Instant::now(),
            place: planned.source.path.display().to_string(),
            stopped: false,
            result: ScenarioResult {
                name: metadata.name.clone(),
                file: planned.source.path.clone(),
                covers: metadata.covers.clone(),
                description: metadata.description.clone(),
                verdict: Verdict::Held,
                failures: Vec::new(),
                steps: Vec::new(),
                parts: Vec::new(),
                elapsed: Duration::ZERO,
                entries: 0,
                folder,
            },
        }
    }

    pub(super) fn failure(&self, part: &str, error: &StepError) -> Failure {
        Failure::new(part, &self.place, error.to_string())
    }

    pub(super) fn fail_setup(&mut self, context: &Context<'_>, error: &StepError) {
        let mut failure = self.failure("setup", error);
        failure.entries = recent(context.journal(), &[]);
        self.result.failures.push(failure);
    }

    pub(super) fn not_up(&mut self, error: &LabError) {
        if matches!(error, LabError::Machine { .. }) {
            self.result.verdict = Verdict::Machine { reason: lab::chain(error) };
        } else {
            self.result.failures.push(Failure::new("up", &self.place, lab::chain(error)));
            self.result.verdict = Verdict::Failed;
        }
    }

    pub(super) fn part(&mut self, name: &'static str, elapsed: Duration) {
        self.result.parts.push(Part { name, elapsed });
    }

    /// What is judged next was seen by the journal, not only by who did it.
    pub(super) async fn catch_up(&mut self, context: &Context<'_>) {
        if let Err(error) = context.lab.catch_up().await {
            self.result.failures.push(self.failure("journal", &StepError::of(&error)));
        }
    }

    /// `eventually` and `pools`, before anything is cleaned up.
    pub(super) async fn after_steps(&mut self, context: &Context<'_>, first: u64) {
        let scenario = &context.planned.scenario;
        let limit = scenario.limits.eventually.0;
        let journal = context.journal();
        for (index, expectation) in scenario.eventually.iter().enumerate() {
            let (part, place) = self.expectation(context, "eventually", index);
            let outcome = judge::eventually(journal, expectation, limit, &part, &place).await;
            self.result.failures.extend(outcome.err().map(|failure| *failure));
        }
        for (index, expectation) in scenario.pools.iter().enumerate() {
            let (part, place) = self.expectation(context, "pools", index);
            let outcome = pools::judge(journal, expectation, first, limit, &part, &place).await;
            self.result.failures.extend(outcome.err().map(|failure| *failure));
        }
    }

    /// `never`, `count` and `order`, of the whole journal.
    pub(super) fn at_end(&mut self, context: &Context<'_>) {
        let scenario = &context.planned.scenario;
        let journal = context.journal();
        for (index, pattern) in scenario.never.iter().enumerate() {
            let (part, place) = self.expectation(context, "never", index);
            self.result
                .failures
                .extend(judge::never(journal, pattern, &part, &place).err().map(|failure| *failure));
        }
        for (index, expectation) in scenario.count.iter().enumerate() {
            let (part, place) = self.expectation(context, "count", index);
            self.result
                .failures
                .extend(judge::count(journal, expectation, &part, &place).err().map(|failure| *failure));
        }
        for (index, expectation) in scenario.order.iter().enumerate() {
            let (part, place) = self.expectation(context, "order", index);
            self.result
                .failures
                .extend(judge::order(journal, expectation, &part, &place).err().map(|failure| *failure));
        }
    }

    fn expectation(&self, context: &Context<'_>, part: &str, index: usize) -> (String, String) {
        let place = context.planned.node.locate(&[part.into(), index.into()]);
        let (line, _) = context.planned.source.position(place.start);
        (format!("{part}[{index}]"), format!("{}:{line}", self.place))
    }

    pub(super) fn conceal(&mut self, context: &Context<'_>) {
        for failure in &mut self.result.failures {
            failure.message = context.conceal(&failure.message);
            for difference in &mut failure.differences {
                difference.expected = context.conceal(&difference.expected);
                difference.actual = context.conceal(&difference.actual);
            }
        }
    }

    pub(super) fn settle(&mut self) {
        self.result.verdict = match (self.stopped, self.result.failures.is_empty()) {
            (_, false) => Verdict::Failed,
            (true, true) => Verdict::Stopped,
            (false, true) => Verdict::Held,
        };
    }
}

/// Does a part of the work and keeps how long it took.
pub(super) async fn record_part<T>(
    result: &mut ScenarioResult,
    name: &'static str,
    work: impl Future<Output = T>,
) -> T {
    let begun = Instant::now();
    let outcome = work.await;
    result.parts.push(Part { name, elapsed: begun.elapsed() });
    outcome
}
