//! The supervisor of one container: starts it, attends to it while it runs, and starts it again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clock::SharedClock;
use jiff::Timestamp;
use journal::source;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use tokio::sync::watch;

use super::backoff::Backoff;
use super::blueprint::blueprint;
use super::board::{Board, Role};
use super::exec::Running;
use super::handler::{Action, Target};
use super::termination::terminate;
use super::{PodContext, probe};
use crate::catalogue::ImageError;
use crate::error_chain;
use crate::events::EventType;
use crate::logs::{Logs, Pipes};
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

/// One run of a container.
pub(super) struct Attempt<'a> {
    pub(super) context: &'a PodContext,
    pub(super) index: usize,
    pub(super) role: Role,
    pub(super) container: &'a Container,
    pub(super) running: Arc<Running>,
}

impl Attempt<'_> {
    pub(super) fn board(&self) -> &Board {
        &self.context.board
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.context.node.clock
    }

    pub(super) fn target(&self) -> Target<'_> {
        Target {
            runtime: &self.context.node.runtime,
            running: &self.running,
            container: self.container,
            address: self.context.sandbox().map_or("", |sandbox| &sandbox.address_text),
            sink: self.context.sink(&self.container.name, None),
            clock: &self.context.node.clock,
        }
    }

    pub(super) fn event(&self, kind: EventType, reason: &str, message: String) {
        self.context.container_event(self.container, self.role, kind, reason, message);
    }
}

/// How an attempt ended.
struct End {
    exit: Exit,
    started_at: Timestamp,
    why: Why,
}

#[derive(Clone, Debug, PartialEq)]
enum Why {
    /// By itself, or because a probe or hook asked for it.
    Ended,
    /// The worker wants it stopped.
    Stopped,
    /// Its definition changed.
    Replaced,
}

/// Why an attempt did not begin: a waiting reason and what to say.
struct NotStarted {
    reason: &'static str,
    message: String,
    /// The waiting reason while the next attempt is held back.
    held_back: &'static str,
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
    loop {
        let wanted = directive.borrow_and_update().clone();
        let Directive::Run(container) = wanted else {
            supervisor.give_up();
            return;
        };
        match supervisor.attempt(&container, &mut directive).await {
            Ok(end) if end.why == Why::Replaced => supervisor.restarting = true,
            Ok(end) => {
                if !supervisor.goes_on(&container, &end, &mut directive).await {
                    return;
                }
            }
            Err(refusal) => supervisor.hold_back(&container, refusal, &mut directive).await,
        }
    }
}

struct Supervisor {
    context: Arc<PodContext>,
    index: usize,
    role: Role,
    backoff: Backoff,
    pulls: Backoff,
    /// The next start is a restart.
    restarting: bool,
}

impl Supervisor {
    /// One run from start to end.
    async fn attempt(
        &mut self,
        container: &Arc<Container>,
        directive: &mut watch::Receiver<Directive>,
    ) -> Result<End, NotStarted> {
        let context = self.context.clone();
        let started = self.start(container).await?;
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
        self.record_end(container, &end);
        let place = started.place;
        // The overlays are gone with the container's mount namespace; what it wrote goes now.
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(place)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(pod = context.full_name(), %error, "what a container wrote is not removed yet");
        }
        Ok(end)
    }

    async fn start(&mut self, container: &Container) -> Result<Started, NotStarted> {
        let context = &self.context;
        let asked = container.image.as_deref().unwrap_or_default();
        let image = context.node.catalogue.resolve(asked).map_err(|error| match error {
            ImageError::Invalid(_) => NotStarted {
                reason: "InvalidImageName",
                message: format!("Failed to apply default image tag {asked:?}: {error}"),
                held_back: "InvalidImageName",
            },
            ImageError::Unreachable { .. } => NotStarted {
                reason: "ErrImagePull",
                message: error.to_string(),
                held_back: "ImagePullBackOff",
            },
        })?;
        self.event(
            container,
            EventType::Normal,
            "Pulled",
            format!("Container image {asked:?} already present on machine"),
        );
        let number = context.attempts.fetch_add(1, Ordering::Relaxed);
        let place = context.directory.join("containers").join(format!("{}-{number}", container.name));
        let refused = |reason, error: &dyn std::error::Error| NotStarted {
            reason,
            message: error_chain(error),
            held_back: reason,
        };
        let sandbox = context.sandbox().ok_or_else(|| NotStarted {
            reason: "CreateContainerError",
            message: "the pod's sandbox is gone".to_owned(),
            held_back: "CreateContainerError",
        })?;
        let spec = blueprint(context, sandbox, container, &image, &place)
            .await
            .map_err(|error| refused("CreateContainerConfigError", &error))?;
        self.event(container, EventType::Normal, "Created", format!("Created container: {}", container.name));
        let (pipes, output) = Pipes::new().map_err(|error| refused("CreateContainerError", &error))?;
        let asked_at = Instant::now();
        let process = context
            .node
            .runtime
            .run(&spec, output)
            .await
            .map_err(|error| refused("RunContainerError", &error))?;
        let log = context.logs(&container.name).map(Logs::begin);
        let drained = tokio::spawn(pipes.drain(context.sink(&container.name, log)));
        let running = Arc::new(Running { process, privileged: spec.privileged, template: spec.process });
        let id = format!("mountlab://{}-{}-{number}", context.uid, container.name);
        let restarting = std::mem::take(&mut self.restarting);
        context.board.update(self.index, |record| {
            if restarting {
                record.restart_count += 1;
                record.wait_for("ContainerCreating", None);
            }
            asked.clone_into(&mut record.image);
            record.image_id = image.id;
            record.container_id = Some(id);
            record.running = Some(running.clone());
            record.ready = false;
            record.started = false;
        });
        self.announce_start(container, &running, asked_at.elapsed());
        Ok(Started { running, drained, place, at: self.context.node.clock.now() })
    }

    fn announce_start(&self, container: &Container, running: &Running, took: Duration) {
        self.event(container, EventType::Normal, "Started", format!("Started container {}", container.name));
        let Some(record) = self.context.board.get(self.index) else { return };
        let body = json!({
            "image": record.image_id,
            "containerID": record.container_id,
            "process": running.process.id(),
            "restartCount": record.restart_count,
            "milliseconds": took.as_secs_f64() * 1000.0,
        });
        self.context.node.journal.record(
            source::PROCESS,
            "started",
            &self.context.subject(&container.name),
            body,
        );
    }

    fn record_end(&self, container: &Container, end: &End) {
        let context = &self.context;
        let code = end.exit.code();
        let signal = match end.exit {
            Exit::Signal(signal) => Some(signal),
            Exit::Code(_) => None,
        };
        let body = json!({"exitCode": code, "signal": signal});
        context.node.journal.record(source::PROCESS, "exited", &context.subject(&container.name), body);
        context.board.update(self.index, |record| {
            record.remember();
            record.state = ContainerState {
                terminated: Some(ContainerStateTerminated {
                    exit_code: code,
                    signal,
                    reason: Some(if code == 0 { "Completed" } else { "Error" }.to_owned()),
                    started_at: Some(Time(end.started_at)),
                    finished_at: Some(Time(context.node.clock.now())),
                    container_id: record.container_id.clone(),
                    ..ContainerStateTerminated::default()
                }),
                ..ContainerState::default()
            };
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

    fn event(&self, container: &Container, kind: EventType, reason: &str, message: String) {
        self.context.container_event(container, self.role, kind, reason, message);
    }
}

struct Started {
    running: Arc<Running>,
    drained: tokio::task::JoinHandle<()>,
    place: std::path::PathBuf,
    at: Timestamp,
}

/// Attends to a running container until it has ended.
async fn attend(attempt: &Attempt<'_>, directive: &mut watch::Receiver<Directive>) -> (Exit, Why) {
    let process = &attempt.running.process;
    let life = async {
        if let Err(reason) = post_start(attempt).await {
            attempt.event(
                EventType::Warning,
                "FailedPostStartHook",
                format!("PostStartHook failed: {reason}"),
            );
            return format!("FailedPostStartHook: {reason}");
        }
        attempt.board().update(attempt.index, |record| {
            record.remember();
            let started_at = Some(Time(attempt.context.node.clock.now()));
            record.state = ContainerState {
                running: Some(ContainerStateRunning { started_at }),
                ..ContainerState::default()
            };
        });
        probe::watch(attempt).await
    };
    tokio::pin!(life);
    let mut condemned = None;
    let why = loop {
        tokio::select! {
            exit = process.wait() => return (exit, Why::Ended),
            reason = &mut life => {
                condemned = Some(reason);
                break Why::Ended;
            }
            changed = directive.changed() => match directive.borrow_and_update().clone() {
                _ if changed.is_err() => break Why::Stopped,
                Directive::Stop(_) => break Why::Stopped,
                Directive::Run(new) if new.image != attempt.container.image => break Why::Replaced,
                Directive::Run(_) => {}
            }
        }
    };
    let message = match (&why, condemned) {
        (_, Some(reason)) => reason,
        (Why::Replaced, None) => {
            format!("Container {} definition changed, will be restarted", attempt.container.name)
        }
        _ => format!("Stopping container {}", attempt.container.name),
    };
    attempt.event(EventType::Normal, "Killing", message);
    (terminate(attempt, directive).await, why)
}

async fn post_start(attempt: &Attempt<'_>) -> Result<(), String> {
    let hook = attempt.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
    match hook.and_then(Action::of_hook) {
        Some(action) => attempt.target().perform(&action, None).await,
        None => Ok(()),
    }
}
