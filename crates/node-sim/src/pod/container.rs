//! The supervisor of one container: starts it, attends to it while it runs, and starts it again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use journal::source;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStateTerminated};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use tokio::sync::watch;

use super::attempt::{Attempt, End, Why, attend};
use super::backoff::Backoff;
use super::board::Role;
use super::start::{NotStarted, RUN_CONTAINER_ERROR};
use super::{PodContext, termination};
use crate::events::EventType;
use crate::mounts;
use crate::runtime::Exit;

/// How long the last output of an ended container is waited for.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// What the worker wants of a container.
#[derive(Clone, Debug)]
pub(super) enum Directive {
    /// Run by this definition.
    Run(Arc<Container>),
    /// Be gone by this instant of the clock.
    Stop(Timestamp),
}

/// Runs a container until the worker stops it or it has ended for good.
pub(super) async fn supervise(
    context: Arc<PodContext>,
    index: usize,
    role: Role,
    mut directive: watch::Receiver<Directive>,
) {
    let mut supervisor = Supervisor {
        context,
        index,
        role,
        backoff: Backoff::default(),
        pulls: Backoff::default(),
        restarting: false,
    };
    let mut image = None;
    loop {
        let wanted = directive.borrow_and_update().clone();
        let Directive::Run(container) = wanted else {
            supervisor.give_up();
            return;
        };
        if image.is_some_and(|before| before != container.image) {
            // another image owes nothing for the failures of the one before
            (supervisor.backoff, supervisor.pulls) = (Backoff::default(), Backoff::default());
        }
        image = Some(container.image.clone());
        match supervisor.attempt(&container, &mut directive).await {
            Ok(end) if matches!(end.why, Why::Replaced | Why::Resized) => supervisor.restarting = true,
            Ok(end) => {
                if !supervisor.goes_on(&container, &end, &mut directive).await {
                    return;
                }
            }
            Err(refusal) => supervisor.hold_back(&container, refusal, &mut directive).await,
        }
    }
}

/// What a supervisor remembers between runs.
pub(super) struct Supervisor {
    pub(super) context: Arc<PodContext>,
    pub(super) index: usize,
    role: Role,
    backoff: Backoff,
    /// For attempts that did not begin.
    pub(super) pulls: Backoff,
    /// The next start is a restart.
    pub(super) restarting: bool,
}

impl Supervisor {
    /// One run from start to end.
    async fn attempt(
        &mut self,
        container: &Arc<Container>,
        directive: &mut watch::Receiver<Directive>,
    ) -> Result<End, NotStarted> {
        let context = self.context.clone();
        let started = match self.start(container).await {
            Ok(started) => started,
            // A program that can't be executed is a run that ended at once.
            Err(refusal) if refusal.reason == RUN_CONTAINER_ERROR => {
                return Ok(self.refused(container, &refusal));
            }
            Err(refusal) => return Err(refusal),
        };
        let attempt = Attempt {
            context: &context,
            index: self.index,
            role: self.role,
            container,
            running: started.running.clone(),
        };
        let watcher = mounts::watch(&context, &container.name, started.running.process.id());
        let (exit, why) = attend(&attempt, directive).await;
        watcher.end().await;
        let _ = tokio::time::timeout(LAST_OUTPUT, started.drained).await;
        let end = End { exit, started_at: started.at, why };
        let signal = match exit {
            Exit::Signal(signal) => Some(signal),
            Exit::Code(_) => None,
        };
        let body = json!({"exitCode": exit.code(), "signal": signal});
        context.node.journal.record(source::PROCESS, "exited", &context.subject(&container.name), body);
        let message = termination::message(container, &started.place, exit.code());
        let reason = if exit.code() == 0 { "Completed" } else { "Error" };
        self.record_end(&end, reason, message);
        let place = started.place;
        // The overlays are gone with the container's mount namespace; what it wrote goes now.
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(place)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(pod = context.full_name(), %error, "what a container wrote is not removed yet");
        }
        Ok(end)
    }

    /// Records a program that could not be executed, as container runtimes do.
    fn refused(&mut self, container: &Container, refusal: &NotStarted) -> End {
        self.event(container, EventType::Warning, "Failed", format!("Error: {}", refusal.message));
        let restarts = i32::from(std::mem::take(&mut self.restarting));
        self.context.board.update(self.index, |record| record.restart_count += restarts);
        let end = End { exit: Exit::Code(128), started_at: self.context.node.clock.now(), why: Why::Ended };
        self.record_end(&end, "StartError", Some(refusal.message.clone()));
        end
    }

    fn record_end(&self, end: &End, reason: &str, message: Option<String>) {
        let code = end.exit.code();
        let signal = match end.exit {
            Exit::Signal(signal) => Some(signal),
            Exit::Code(_) => None,
        };
        let finished_at = Some(Time(self.context.node.clock.now()));
        self.context.board.update(self.index, |record| {
            record.remember();
            let terminated = ContainerStateTerminated {
                exit_code: code,
                signal,
                reason: Some(reason.to_owned()),
                message,
                started_at: Some(Time(end.started_at)),
                finished_at,
                container_id: record.container_id.clone(),
            };
            record.state = ContainerState { terminated: Some(terminated), ..ContainerState::default() };
            record.running = None;
            record.ready = false;
            record.started = false;
            if end.why == Why::Stopped {
                record.finished = Some(code);
            }
        });
    }

    /// After an end: whether the container is started again, having waited for its turn.
    async fn goes_on(
        &mut self,
        container: &Container,
        end: &End,
        directive: &mut watch::Receiver<Directive>,
    ) -> bool {
        if end.why == Why::Stopped {
            return false;
        }
        let code = end.exit.code();
        let pod = self.context.pod();
        let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
        let again = match (self.role, policy) {
            (Role::Sidecar, _) | (Role::Main, "Always") => true,
            (_, "Never") => false,
            _ => code != 0,
        };
        if !again {
            self.context.board.update(self.index, |record| record.finished = Some(code));
            return false;
        }
        let clock = &self.context.node.clock;
        let ran_for = Duration::try_from(clock.now().duration_since(end.started_at)).unwrap_or_default();
        let wait = self.backoff.after(ran_for);
        if !wait.is_zero() {
            // Reckoned before anybody is told: whoever sees the state may move the clock at once.
            let until = clock::later(clock.now(), wait);
            self.tell_back_off(container, wait);
            self.pause(until, directive).await;
        }
        self.restarting = true;
        true
    }

    fn tell_back_off(&self, container: &Container, wait: Duration) {
        let (name, uid) = (&container.name, &self.context.uid);
        let pod = self.context.full_name().replace('/', "_");
        let event = format!("Back-off restarting failed container {name} in pod {pod}({uid})");
        self.event(container, EventType::Warning, "BackOff", event);
        let message =
            format!("back-off {}s restarting failed container={name} pod={pod}({uid})", wait.as_secs());
        self.context.board.update(self.index, |record| record.wait_for("CrashLoopBackOff", Some(message)));
    }

    /// After a start that was refused: says so and waits for the next turn.
    async fn hold_back(
        &mut self,
        container: &Container,
        refusal: NotStarted,
        directive: &mut watch::Receiver<Directive>,
    ) {
        let NotStarted { reason, message, held_back } = refusal;
        let until = clock::later(self.context.node.clock.now(), self.pulls.after_failure());
        self.event(container, EventType::Warning, "Failed", format!("Error: {reason}: {message}"));
        self.context.board.update(self.index, |record| record.wait_for(reason, Some(message.clone())));
        if held_back != reason {
            let image = container.image.as_deref().unwrap_or_default();
            self.event(container, EventType::Normal, "BackOff", format!("Back-off pulling image {image:?}"));
            let message = format!("Back-off pulling image {image:?}: {reason}: {message}");
            self.context.board.update(self.index, |record| record.wait_for(held_back, Some(message)));
        }
        self.pause(until, directive).await;
    }

    /// Waits, unless the worker changes its mind.
    async fn pause(&self, until: Timestamp, directive: &mut watch::Receiver<Directive>) {
        tokio::select! {
            () = self.context.node.clock.sleep_until(until) => {}
            changed = directive.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// A container that never ran, or isn't running now, is stopped.
    fn give_up(&self) {
        self.context.board.update(self.index, |record| {
            if record.finished.is_none() {
                let ended = record
                    .state
                    .terminated
                    .as_ref()
                    .or(record.last_state.as_ref().and_then(|state| state.terminated.as_ref()));
                record.finished = Some(ended.map_or(137, |terminated| terminated.exit_code));
            }
        });
    }

    pub(super) fn event(&self, container: &Container, kind: EventType, reason: &str, message: String) {
        self.context.container_event(container, self.role, kind, reason, message);
    }
}
