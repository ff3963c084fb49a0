//! A pod on this node.
//!
//! ```text
//! watch ── updates ─► worker (one per pod): volumes and network, init containers in order, main containers,
//!                        │                  end of the pod, deletion
//!                        ├─► supervisor (one per container): start, hooks, probes, end, back-off, start again
//!                        │        └─ writes ─► board ── changes ─► status writer ─► API
//!                        └─ directives: run this definition, or stop by then
//! ```

mod attempt;
mod backoff;
mod blueprint;
mod board;
mod container;
mod environment;
mod exec;
mod handler;
mod hibernation;
mod probe;
mod resize;
mod start;
mod status;
mod termination;
mod volumes;
mod worker;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use kube::ResourceExt as _;
use kube::{Api, Client};

pub(crate) use board::Board;
pub(crate) use worker::{Update, run};

use board::Role;
use environment::Facts;
use exec::{CommandError, run_command};
use hibernation::Hibernation;
use volumes::Volumes;

use crate::CommandResult;
use crate::events::EventType;
use crate::logs::{Log, Logs, Sink};
use crate::network::{PodLink, PodNamespaces};
use crate::node::Shared;
use crate::policies::Enforced;

/// One pod, as everything that works on it sees it.
#[derive(Debug)]
pub(crate) struct PodContext {
    pub(crate) node: Arc<Shared>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The pod's folder below the node's state.
    pub(crate) directory: PathBuf,
    pub(crate) board: Board,
    pub(crate) start_time: Timestamp,
    logs: BTreeMap<String, Logs>,
    pod: Mutex<Arc<Pod>>,
    /// What the watch saw last; the worker takes it over when it gets to it.
    latest: Mutex<Arc<Pod>>,
    /// Whether it runs, or is kept asleep.
    pub(crate) hibernation: Hibernation,
    sandbox: OnceLock<Sandbox>,
    last_status: Mutex<Option<PodStatus>>,
    /// Number of the last attempt of any container; names folders and container ids.
    attempts: std::sync::atomic::AtomicU64,
}

/// What the pod's containers share.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) namespaces: PodNamespaces,
    pub(crate) link: PodLink,
    /// The network policies that hold.
    pub(crate) enforced: Enforced,
    /// The pod's address as text.
    pub(crate) address_text: String,
    pub(crate) volumes: Volumes,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PodContext {
    /// A context for `pod`, of which nothing runs yet.
    pub(crate) fn new(node: Arc<Shared>, pod: Arc<Pod>) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let logs = containers.map(|container| (container.name.clone(), Logs::default())).collect();
        let uid = pod.uid().unwrap_or_default();
        let start_time = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            directory: node.pods_directory().join(&uid),
            board: Board::new(spec),
            start_time: start_time.unwrap_or_else(|| node.clock.now()),
            uid,
            logs,
            node,
            latest: Mutex::new(pod.clone()),
            pod: Mutex::new(pod),
            hibernation: Hibernation::default(),
            sandbox: OnceLock::new(),
            last_status: Mutex::default(),
            attempts: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// The pod as it was seen last.
    pub(crate) fn pod(&self) -> Arc<Pod> {
        lock(&self.pod).clone()
    }

    /// The pod as the watch saw it last.
    pub(crate) fn latest(&self) -> Arc<Pod> {
        lock(&self.latest).clone()
    }

    /// The watch saw the pod.
    pub(crate) fn observe(&self, pod: Arc<Pod>) {
        *lock(&self.latest) = pod;
    }

    fn set_pod(&self, pod: Arc<Pod>) {
        *lock(&self.pod) = pod;
    }

    /// `namespace/name`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// What the journal calls a container of this pod.
    pub(crate) fn subject(&self, container: &str) -> String {
        format!("Pod/{}/{}/{container}", self.namespace, self.name)
    }

    pub(crate) fn sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.get()
    }

    /// The logs of a container; `None` if the pod has no such container.
    pub(crate) fn logs(&self, container: &str) -> Option<&Logs> {
        self.logs.get(container)
    }

    fn sink(&self, container: &str, log: Option<Arc<Log>>) -> Sink {
        Sink::new(
            self.node.clock.clone(),
            self.node.journal.clone(),
            self.full_name(),
            container.to_owned(),
            log,
        )
    }

    /// Name and first process of a running container, the first main container if none is named.
    pub(crate) fn running(&self, container: Option<&str>) -> Option<(String, i32)> {
        let records = self.board.records();
        let wanted = |record: &&board::Record| match container {
            Some(name) => record.name == name,
            None => record.role == Role::Main,
        };
        let record = records.iter().find(wanted)?;
        let running = record.running.as_ref().filter(|running| running.process.is_running())?;
        Some((record.name.clone(), running.process.id()))
    }

    /// Runs a command in a running container.
    pub(crate) async fn run_command(
        &self,
        container: &str,
        command: &[&str],
        limit: Duration,
    ) -> Result<CommandResult, CommandError> {
        let running = self.commandable(container)?;
        let command: Vec<_> = command.iter().map(|word| (*word).to_owned()).collect();
        let sink = self.sink(container, None);
        let ended = run_command(&self.node.runtime, &running, &command, sink, Some(limit)).await?;
        Ok(CommandResult { code: ended.code, output: ended.output })
    }

    /// Runs a command in a running container and keeps all that it writes.
    pub(crate) async fn output_of(
        &self,
        container: &str,
        command: &[String],
        limit: Duration,
    ) -> Result<exec::Output, CommandError> {
        let running = self.commandable(container)?;
        exec::output_of(&self.node.runtime, &running, command, limit).await
    }

    /// A running container that a command can be run in: nothing is started among processes that are stopped.
    fn commandable(&self, container: &str) -> Result<Arc<exec::Running>, CommandError> {
        if !self.hibernation.is_awake() {
            return Err(CommandError::Hibernates);
        }
        self.board.find(container).and_then(|record| record.running).ok_or(CommandError::NotRunning)
    }

    fn container_event(
        &self,
        container: &Container,
        role: Role,
        kind: EventType,
        reason: &str,
        message: String,
    ) {
        let init = role != Role::Main;
        self.node.events.container(&self.pod(), &container.name, init, kind, reason, message);
    }

    fn event(&self, reporter: &str, kind: EventType, reason: &str, message: String) {
        self.node.events.pod(&self.pod(), reporter, kind, reason, message);
    }

    fn facts(&self) -> Facts {
        Facts {
            pod_ip: self.sandbox().map(|sandbox| sandbox.address_text.clone()).unwrap_or_default(),
            host_ip: self.node.network.bridge_address().to_string(),
            node_name: self.node.node_name.clone(),
        }
    }

    fn client(&self) -> &Client {
        &self.node.client
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.node.client.clone(), &self.namespace)
    }
}

/// The containers in the order of the board: init containers first.
fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// The pod's definition; empty for an object without one.
fn spec_of(pod: &Pod) -> PodSpec {
    pod.spec.clone().unwrap_or_default()
}
