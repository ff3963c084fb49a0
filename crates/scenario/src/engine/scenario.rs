//! One scenario, from its lab's first breath to its last.

use std::sync::atomic::{AtomicBool, Ordering};

use journal::secrecy::Concealer;
use journal::source;
use lab::{Lab, LabError, SharedPart, Sharing, UpOptions};
use serde_json::json;
use tokio::time::Instant;

use super::background::Background;
use super::company::Place;
use super::context::{Context, StepError};
use super::failure::Failure;
use super::needs::{self, configures, needed};
use super::observer::{Event, PauseInfo};
use super::record::{Record, record_part};
use super::steps::{self, Carried};
use super::summary::{ScenarioResult, StepResult, Verdict};
use super::{Run, cleanup, secrecy, setup};
use crate::programs;
use crate::read::Planned;
use crate::report;

/// A scenario's time for disturbing what it disturbs of what is shared.
struct Turn<'a> {
    seat: &'a Place,
    sharing: &'a Sharing,
    taken: AtomicBool,
}

impl Run<'_> {
    /// Runs one scenario and writes its folder of the report; `sharing` is what it does with parts that others use too, `seat`
    /// what it gives up when it goes down.
    pub(super) async fn scenario(&self, planned: &Planned, sharing: Sharing, seat: Place) -> ScenarioResult {
        let name = &planned.scenario.metadata.name;
        let mut record = Record::new(planned, self.options.report.join(name));
        if self.stop.is_cancelled() {
            record.result.verdict = Verdict::Stopped;
        } else if let Some(reason) = self.lacking(planned) {
            record.result.verdict = Verdict::Skipped { reason };
        } else {
            self.observer.notify(&Event::ScenarioStarted { name });
            self.in_lab(planned, &sharing, seat, &mut record).await;
        }
        record.result.elapsed = record.begun.elapsed();
        self.observer.notify(&Event::ScenarioEnded { result: &record.result });
        record.result
    }

    /// What this scenario needs and this place doesn't have.
    fn lacking(&self, planned: &Planned) -> Option<String> {
        let scenario = &planned.scenario;
        let missing = self.backend.missing(&needed(planned));
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
            return Some(format!("the {} backend lacks {}", self.backend.name(), names.join(" and ")));
        }
        let uses = |wanted: fn(&crate::model::Step) -> bool| scenario.steps.iter().any(wanted);
        let programs = [
            ("kubectl", uses(|step| step.kubectl.is_some())),
            ("python3", uses(|step| step.python.is_some())),
            ("node", uses(|step| step.javascript.is_some())),
        ];
        let lacking = programs.into_iter().find(|(program, used)| *used && programs::find(program).is_none());
        lacking.map(|(program, _)| format!("this machine has no {program} on its PATH"))
    }

    async fn in_lab(&self, planned: &Planned, sharing: &Sharing, seat: Place, record: &mut Record) {
        let name = &planned.scenario.metadata.name;
        self.phase(name, "up");
        let options = UpOptions {
            name: name.clone(),
            seed: self.options.seed,
            directory: record.result.folder.clone(),
            deadline: planned.scenario.limits.up.0,
            needed: needed(planned),
            sharing: needs::sharing(planned),
        };
        let up = async { record_part(&mut record.result, "up", self.backend.up(options)).await };
        let lab = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            up = up => Some(up),
        };
        match lab {
            None => record.result.verdict = Verdict::Stopped,
            Some(Err(error)) => record.not_up(&error),
            Some(Ok(lab)) => {
                let turn = Turn { seat: &seat, sharing, taken: AtomicBool::new(false) };
                self.with_lab(planned, lab.as_ref(), &turn, record).await;
                if self.backend.goes_down_aside() {
                    seat.give_up();
                }
                self.down(lab, name, record).await;
            }
        }
    }

    async fn with_lab(&self, planned: &Planned, lab: &dyn Lab, turn: &Turn<'_>, record: &mut Record) {
        let context = Context::new(planned, lab, self.options.cache.clone(), self.options.clock.clone());
        let place = planned.source.path.display().to_string();
        let mut guarded = Concealer::default();
        match context {
            Err(error) => record.result.failures.push(record.failure("setup", &error)),
            Ok(context) => {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => record.stopped = true,
                    error = end_of(lab) => record.result.failures.push(record.failure("lab", &StepError::of(&error))),
                    () = self.work(&context, turn, record) => {}
                }
                record.result.failures.extend(secrecy::of_journal(lab.journal(), &place));
                record.conceal(&context);
                guarded = context.concealer();
            }
        }
        record.settle();
        let verdict =
            json!({"verdict": record.result.verdict.word(), "failures": record.result.failures.len()});
        lab.journal().record(source::SCENARIO, "verdict", &record.result.name, verdict);
        record.result.entries = lab.journal().len();
        if let Err(error) = report::write_scenario(&record.result, lab.journal()) {
            record.result.failures.push(record.failure("report", &StepError::of(&error)));
        }
        record.result.failures.extend(secrecy::of_files(&record.result.folder, &guarded, &place));
        record.settle();
        self.pause(lab, record).await;
    }

    /// Everything between up and down. May be dropped at any await, when the run is stopped.
    async fn work(&self, context: &Context<'_>, turn: &Turn<'_>, record: &mut Record) {
        let name = &context.planned.scenario.metadata.name;
        let scenario = &context.planned.scenario;
        if configures(context.planned) {
            self.take(turn, context).await;
        }
        self.phase(name, "setup");
        let setup = async {
            setup::seed_buckets(context).await?;
            setup::seed_exports(context).await?;
            setup::apply_objects(context).await
        };
        if let Err(error) = record_part(&mut record.result, "setup", setup).await {
            return record.fail_setup(context, &error);
        }
        self.phase(name, "pools");
        if let Err(error) = record_part(&mut record.result, "ready", setup::await_pools(context)).await {
            return record.fail_setup(context, &error);
        }
        self.take(turn, context).await;
        let first = context.journal().len() as u64;
        let begun = Instant::now();
        let held = self.steps(context, record).await;
        record.part("steps", begun.elapsed());
        let begun = Instant::now();
        if held {
            self.phase(name, "expectations");
            record.catch_up(context).await;
            record.after_steps(context, first).await;
            record.part("expectations", begun.elapsed());
        }
        if !record.result.failures.is_empty() && self.options.pause_on_failure {
            self.hold(context.lab, record, false).await;
        }
        self.phase(name, "cleanup");
        let cleaning = cleanup::clean(context, scenario.nothing_left);
        let failures = record_part(&mut record.result, "cleanup", cleaning).await;
        record.result.failures.extend(failures);
        if held {
            record.catch_up(context).await;
            record.at_end(context);
        }
        // Who looks at a failed scenario's lab wants to find it in use.
        if record.result.failures.is_empty() && turn.taken.load(Ordering::Relaxed) {
            match record_part(&mut record.result, "settle", context.lab.settle()).await {
                Ok(()) => turn.seat.settled(),
                Err(error) => record.result.failures.push(record.failure("settle", &StepError::of(&error))),
            }
        }
    }

    /// Waits, if the scenario disturbs what others use, until it may.
    async fn take(&self, turn: &Turn<'_>, context: &Context<'_>) {
        if turn.sharing.disturbs.is_empty() || turn.taken.swap(true, Ordering::Relaxed) {
            return;
        }
        let name = &context.planned.scenario.metadata.name;
        let parts: Vec<_> = turn.sharing.disturbs.iter().map(SharedPart::to_string).collect();
        self.phase(name, &format!("waiting until nobody else uses {}", parts.join(" and ")));
        turn.seat.turn().await;
        context.journal().record(source::SCENARIO, "apart", name, json!({"disturbs": parts}));
    }

    /// Runs the steps up to the first that fails; says whether all held.
    async fn steps(&self, context: &Context<'_>, record: &mut Record) -> bool {
        let scenario = &context.planned.scenario;
        let total = scenario.steps.len();
        let mut background = Background::default();
        for (index, step) in scenario.steps.iter().enumerate() {
            let number = index + 1;
            let line = context.planned.line_of_step(index);
            let title = context.conceal(&steps::title(step));
            self.phase(&scenario.metadata.name, &format!("step {number} of {total}: {title}"));
            let subject = format!("step {number}");
            let entry = json!({"title": title, "line": line});
            context.journal().record(source::SCENARIO, "step", &subject, entry);
            let at = record.begun.elapsed();
            let begun = Instant::now();
            let part = format!("step {number} of {total}: {title}");
            let place = format!("{}:{line}", context.planned.source.path.display());
            let Carried { outcome, failure } =
                steps::carry_out(context, &mut background, step, &part, &place).await;
            let held = failure.is_none();
            let entry = json!({"title": title, "held": held, "outcome": outcome});
            context.journal().record(source::SCENARIO, "outcome", &subject, entry);
            record.result.steps.push(StepResult { number, title, line, held, at, elapsed: begun.elapsed() });
            if let Some(failure) = failure {
                record.result.failures.push(failure);
                return false;
            }
        }
        true
    }

    async fn down(&self, lab: Box<dyn Lab>, name: &str, record: &mut Record) {
        self.phase(name, "down");
        let limit = self.backend.down_limit(self.stop.is_cancelled());
        let going = async {
            tokio::time::timeout(limit, lab.down()).await.unwrap_or_else(|_| {
                Err(LabError::Deadline {
                    deadline: "down",
                    limit,
                    last: "the lab was still going down".to_owned(),
                })
            })
        };
        let outcome = record_part(&mut record.result, "down", going).await;
        if let Err(error) = outcome {
            record.result.failures.push(record.failure("down", &StepError::of(&error)));
            record.settle();
        }
    }

    /// `--keep`: a failed scenario's lab stays up until the run is stopped.
    async fn pause(&self, lab: &dyn Lab, record: &Record) {
        if self.options.keep && record.result.verdict == Verdict::Failed && !self.stop.is_cancelled() {
            self.hold(lab, record, true).await;
        }
    }

    async fn hold(&self, lab: &dyn Lab, record: &Record, keep: bool) {
        let access = lab.access();
        let info = PauseInfo {
            scenario: record.result.name.clone(),
            environment: programs::addresses(access),
            kubeconfig: access.kubeconfig.clone(),
            failure: record.result.failures.first().map(Failure::render).unwrap_or_default(),
            keep,
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.observer.pause(info) => {}
        }
    }

    fn phase(&self, name: &str, phase: &str) {
        self.observer.notify(&Event::Phase { name, phase });
    }
}

/// Completes when the lab ends by itself, which it says in its journal: nothing that a scenario waits for comes then.
async fn end_of(lab: &dyn Lab) -> LabError {
    let mut journal = lab.journal().follow(0);
    loop {
        let entry = journal.next().await;
        if entry.source == source::LAB && entry.kind == "phase" && entry.body["phase"] == "ended" {
            let text = |member: &str| entry.body[member].as_str().unwrap_or_default().to_owned();
            return LabError::Part { lab: entry.subject.clone(), part: text("part"), reason: text("reason") };
        }
    }
}
