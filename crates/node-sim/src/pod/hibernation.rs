//! A pod that is kept asleep: its processes are stopped where they are, its files, network and volumes stay
//! (`docs/design/0012-hibernation.md`).
//!
//! ```text
//! awake ── annotation hibernate ─► falling asleep ─► asleep ── annotation gone ─► awake
//!                                         └──────────────┴─► lost: not every container ran, or one ended meanwhile
//! ```
//! Probes ask nothing meanwhile, and what comes in from outside is refused. Its end is a kill: whoever is stopped hears no other signal.

use std::sync::Arc;
use std::time::Instant;

use contract::sleep;
use journal::source;
use serde_json::json;
use tokio::sync::watch;

use super::PodContext;
use super::board::{Record, Role};
use super::worker::Update;
use crate::error_chain;
use crate::events::{EventType, KUBELET};
use crate::freezer::{self, Frozen};

/// How far a pod is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum State {
    /// It runs.
    #[default]
    Awake,
    /// Its processes are being stopped.
    FallingAsleep,
    /// Its processes are stopped.
    Asleep(Frozen),
    /// It was to sleep, and isn't what it was; why. Some processes may be stopped.
    Lost(String, Frozen),
}

/// What everybody who works on the pod sees of it.
#[derive(Debug)]
pub(crate) struct Hibernation {
    state: watch::Sender<State>,
}

impl Default for Hibernation {
    fn default() -> Self {
        Self { state: watch::Sender::new(State::Awake) }
    }
}

impl Hibernation {
    /// How far the pod is.
    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Whether it runs as usual.
    pub(crate) fn is_awake(&self) -> bool {
        *self.state.borrow() == State::Awake
    }

    /// Waits until it runs as usual.
    pub(crate) async fn until_awake(&self) {
        // the sender is part of self, so this cannot fail
        let _ = self.state.subscribe().wait_for(|state| *state == State::Awake).await;
    }

    /// Waits until it doesn't.
    pub(crate) async fn until_not_awake(&self) {
        let _ = self.state.subscribe().wait_for(|state| *state != State::Awake).await;
    }

    fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

/// Does what the pod's annotation says, until the task is aborted.
pub(super) async fn follow(context: Arc<PodContext>, mut updates: watch::Receiver<Update>) {
    loop {
        let wanted = sleep::is_wanted(&updates.borrow_and_update().pod);
        match context.hibernation.state() {
            State::Awake if wanted => put_to_sleep(&context).await,
            State::Asleep(frozen) | State::Lost(_, frozen) if !wanted => wake(&context, frozen).await,
            _ => {}
        }
        tokio::select! {
            changed = updates.changed() => if changed.is_err() {
                return;
            },
            () = lose(&context) => {}
        }
    }
}

async fn put_to_sleep(context: &PodContext) {
    let begun = Instant::now();
    let records = context.board.records();
    let state = if let Some(record) = records.iter().find(|record| !may_sleep(record)) {
        State::Lost(format!("container {} is not running", record.name), Frozen::default())
    } else {
        context.hibernation.set(State::FallingAsleep);
        let frozen = tokio::task::spawn_blocking(move || freezer::freeze(first_processes(&records)));
        match frozen.await {
            Ok(Ok(frozen)) => State::Asleep(frozen),
            Ok(Err(error)) => State::Lost(error_chain(&error), Frozen::default()),
            Err(error) => State::Lost(error.to_string(), Frozen::default()),
        }
    };
    let (kind, told) = match &state {
        State::Asleep(frozen) => ("hibernated", json!({"processes": frozen.count})),
        State::Lost(reason, _) => ("not-hibernated", json!({"reason": reason})),
        State::Awake | State::FallingAsleep => return,
    };
    record(context, kind, told, begun);
    if let State::Lost(reason, _) = &state {
        context.event(KUBELET, EventType::Warning, "FailedHibernate", reason.clone());
    }
    context.hibernation.set(state);
    context.board.touch();
}

async fn wake(context: &PodContext, frozen: Frozen) {
    let begun = Instant::now();
    let count = frozen.count;
    let thawed = tokio::task::spawn_blocking(move || freezer::thaw(&frozen)).await;
    match thawed {
        Ok(Ok(())) => record(context, "woken", json!({"processes": count}), begun),
        Ok(Err(error)) => {
            tracing::error!(pod = context.full_name(), %error, "processes are not told to go on");
        }
        Err(error) => tracing::error!(pod = context.full_name(), %error, "processes are not told to go on"),
    }
    context.hibernation.set(State::Awake);
    context.board.touch();
}

fn record(context: &PodContext, kind: &str, mut body: serde_json::Value, begun: Instant) {
    body["milliseconds"] = json!(begun.elapsed().as_secs_f64() * 1000.0);
    context.node.journal.record(source::PROCESS, kind, &format!("Pod/{}", context.full_name()), body);
}

/// Completes when a container of a pod that sleeps has ended.
async fn lose(context: &PodContext) {
    let State::Asleep(frozen) = context.hibernation.state() else { return std::future::pending().await };
    let kept = |records: &[Record]| records.iter().all(may_sleep) && first_processes(records) == frozen.roots;
    context.board.wait_until(|records| !kept(records)).await;
    let reason = "a container ended while the pod slept".to_owned();
    record(context, "not-hibernated", json!({"reason": reason}), Instant::now());
    context.hibernation.set(State::Lost(reason, frozen));
    context.board.touch();
}

/// Containers that run for as long as the pod does have to run; the others have to have ended.
fn may_sleep(record: &Record) -> bool {
    match record.role {
        Role::Init => record.finished.is_some(),
        Role::Sidecar | Role::Main => {
            record.started
                && record.state.running.is_some()
                && record.running.as_ref().is_some_and(|running| running.process.is_running())
        }
    }
}

fn first_processes(records: &[Record]) -> Vec<i32> {
    records.iter().filter_map(|record| Some(record.running.as_ref()?.process.id())).collect()
}
