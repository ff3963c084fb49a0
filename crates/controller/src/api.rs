//! What the workers share, and small helpers around the API.

use std::sync::Arc;
use std::time::Duration;

use claim::Claimer;
use clock::SharedClock;
use contract::resolve::{DriverList, ResolvedMount};
use jiff::Timestamp;
use journal::Journal;
use kube::api::{DeleteParams, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};

use crate::ControllerOptions;
use crate::announce::Announcer;
use crate::claim::Attempts;
use crate::queue::Queue;
use crate::sandbox::{Initialisations, RecyclingLimits, Unmounts};
use crate::set::Remembered;
use crate::world::World;

/// Field manager of everything that the controller writes.
pub(crate) const FIELD_MANAGER: &str = "sandbox-controller-manager";

/// What every worker has at hand.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) clock: SharedClock,
    pub(crate) namespace: String,
    pub(crate) world: Arc<World>,
    pub(crate) announcer: Announcer,
    pub(crate) sets: Remembered,
    pub(crate) queue: Arc<Queue>,
    pub(crate) claimer: Claimer,
    pub(crate) attempts: Attempts,
    /// Whether sandboxes are to serve their runtimes over TLS.
    pub(crate) serves_tls: bool,
    pub(crate) drivers: DriverList,
    pub(crate) mount_deadline: Duration,
    pub(crate) initialisations: Initialisations,
    pub(crate) unmounts: Unmounts,
    pub(crate) recycling: RecyclingLimits,
    journal: Option<Journal>,
}

impl Context {
    pub(crate) fn new(
        options: &ControllerOptions,
        claimer: Claimer,
        world: Arc<World>,
        queue: Arc<Queue>,
    ) -> Self {
        Self {
            client: options.client.clone(),
            clock: Arc::clone(&options.clock),
            namespace: options.namespace.clone(),
            announcer: Announcer::new(options.client.clone(), Arc::clone(&options.clock)),
            sets: Remembered::default(),
            queue,
            claimer,
            attempts: Attempts::default(),
            serves_tls: options.runtime_certificates.is_some(),
            drivers: options.drivers.clone(),
            mount_deadline: options.mount_deadline,
            initialisations: Initialisations::default(),
            unmounts: Unmounts::default(),
            recycling: options.recycling,
            journal: options.journal.clone(),
            world,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Keeps the values of the mounts' Secrets out of the journal from now on.
    pub(crate) fn conceal(&self, mounts: &[ResolvedMount]) {
        if let Some(journal) = &self.journal {
            for secret in mounts.iter().flat_map(|mount| mount.request.secrets.values()) {
                journal.guard(secret);
            }
        }
    }

    pub(crate) fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Parameters of a create.
pub(crate) fn parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Parameters of a patch.
pub(crate) fn patch_parameters() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// Parameters of a delete of the object of that UID and no other.
pub(crate) fn delete_exactly(uid: &str) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::background()
    }
}

/// Whether the API server answered with that HTTP status.
pub(crate) fn has_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// What the API server said, otherwise the kind of failure, as a message for users.
pub(crate) fn message_of(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
