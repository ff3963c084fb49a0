//! What is known about a pod's containers at this moment; the one place that supervisors write and the status is
//! computed from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateWaiting, PodSpec, ResourceRequirements,
};
use tokio::sync::watch;

use super::exec::Running;

/// Which part a container plays in its pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that is always restarted: runs beside the main containers and ends after them.
    Sidecar,
    /// A container of `spec.containers`.
    Main,
}

impl Role {
    /// The role of an init container.
    pub(crate) fn of_init(container: &Container) -> Self {
        if container.restart_policy.as_deref() == Some("Always") { Self::Sidecar } else { Self::Init }
    }
}

/// One container of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) container_id: Option<String>,
    /// What the node gives it.
    pub(crate) resources: Option<ResourceRequirements>,
    pub(crate) state: ContainerState,
    pub(crate) last_state: Option<ContainerState>,
    pub(crate) restart_count: i32,
    /// Its readiness probe, if it has one, succeeded.
    pub(crate) ready: bool,
    /// Its postStart hook is done and its startup probe succeeded.
    pub(crate) started: bool,
    /// It ended with this code and isn't restarted.
    pub(crate) finished: Option<i32>,
    /// The process of the current attempt.
    pub(crate) running: Option<Arc<Running>>,
}

impl Record {
    fn new(container: &Container, role: Role, waiting: &str) -> Self {
        Self {
            name: container.name.clone(),
            role,
            image: container.image.clone().unwrap_or_default(),
            image_id: String::new(),
            container_id: None,
            resources: container
                .resources
                .clone()
                .filter(|resources| *resources != ResourceRequirements::default()),
            state: waiting_state(waiting, None),
            last_state: None,
            restart_count: 0,
            ready: false,
            started: false,
            finished: None,
            running: None,
        }
    }

    /// Waits for something, keeping how the last attempt ended.
    pub(crate) fn wait_for(&mut self, reason: &str, message: Option<String>) {
        self.remember();
        self.state = waiting_state(reason, message);
    }

    /// Moves an ended attempt into the last state.
    pub(crate) fn remember(&mut self) {
        if self.state.terminated.is_some() {
            self.last_state = Some(std::mem::take(&mut self.state));
        }
    }
}

/// A waiting state.
pub(crate) fn waiting_state(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

/// The records of a pod, init containers first, and word of their changes.
#[derive(Debug)]
pub(crate) struct Board {
    records: Mutex<Vec<Record>>,
    changes: watch::Sender<u64>,
}

impl Board {
    /// Every container waiting to be created.
    pub(crate) fn new(spec: &PodSpec) -> Self {
        let inits = spec.init_containers.as_deref().unwrap_or_default();
        let waiting = if inits.is_empty() { "ContainerCreating" } else { "PodInitializing" };
        let records = inits
            .iter()
            .map(|container| Record::new(container, Role::of_init(container), "PodInitializing"))
            .chain(spec.containers.iter().map(|container| Record::new(container, Role::Main, waiting)))
            .collect();
        Self { records: Mutex::new(records), changes: watch::Sender::new(0) }
    }

    /// A copy of every record.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.lock().clone()
    }

    /// A copy of the record at `index`.
    pub(crate) fn get(&self, index: usize) -> Option<Record> {
        self.lock().get(index).cloned()
    }

    /// A copy of the record of the container called `name`.
    pub(crate) fn find(&self, name: &str) -> Option<Record> {
        self.lock().iter().find(|record| record.name == name).cloned()
    }

    /// Changes a record and tells everybody.
    pub(crate) fn update(&self, index: usize, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.lock().get_mut(index) {
            change(record);
        }
        self.touch();
    }

    /// Tells everybody that something outside the records changed.
    pub(crate) fn touch(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    /// Sees every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until the records satisfy `condition`.
    pub(crate) async fn wait_until(&self, condition: impl Fn(&[Record]) -> bool) {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if condition(&self.lock()) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
