//! The manager itself: what all its parts share, and its background work.

use std::sync::Arc;
use std::time::Duration;

use claim::{Cache, Claimer, ClaimerOptions};
use contract::crd::{Checkpoint, Sandbox, SandboxSet, SandboxTemplate};
use contract::names::annotations;
use jiff::Timestamp;
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use prometheus_client::registry::Registry;
use runtime_client::{RuntimeClient, RuntimeSetupError};
use tokio::task::JoinSet;

use crate::error::ApiError;
use crate::gateway::forward::Forwarder;
use crate::id::SandboxKey;
use crate::keys::Caller;
use crate::keys::store::KeyStore;
use crate::options::ManagerOptions;
use crate::sandboxes::{self, Situation};

/// Longest wait of an early request for the first listing of sandboxes and pools.
const SYNC_LIMIT: Duration = Duration::from_secs(5);

/// The E2B API server and gateway; clones share everything.
#[derive(Clone, Debug)]
pub struct Manager {
    pub(crate) shared: Arc<Shared>,
}

/// What the parts of a manager share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: ManagerOptions,
    pub(crate) sandboxes: Arc<Cache<Sandbox>>,
    pub(crate) sets: Cache<SandboxSet>,
    pub(crate) templates: Cache<SandboxTemplate>,
    pub(crate) checkpoints: Cache<Checkpoint>,
    pub(crate) keys: KeyStore,
    pub(crate) forwarder: Forwarder,
    pub(crate) claimer: Claimer,
    registry: Registry,
}

/// Settings with which no manager can be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An empty admin key would let everybody in who sends an empty header.
    #[error("the admin key is empty: set one, or leave it to the random default")]
    EmptyAdminKey,
    /// The certificates for sandboxes that serve TLS can't be used.
    #[error("the client certificates for sandbox runtimes cannot be used")]
    Certificates(#[from] RuntimeSetupError),
}

/// The manager's background work; it ends when this is dropped.
#[derive(Debug)]
pub struct Background {
    tasks: JoinSet<()>,
}

impl Manager {
    /// A manager that has not read anything yet; see [`Manager::start`].
    ///
    /// # Errors
    /// [`SetupError`] for settings that can't work.
    pub fn new(options: ManagerOptions) -> Result<Self, SetupError> {
        if options.admin_key.is_empty() {
            return Err(SetupError::EmptyAdminKey);
        }
        if let Some(journal) = &options.journal {
            journal.guard(&options.admin_key);
        }
        let keys = KeyStore::new(options.client.clone(), &options.system_namespace, &options.admin_key);
        let runtime = RuntimeClient::new(options.runtime_certificates.as_ref())?;
        let sandboxes: Arc<Cache<Sandbox>> = Arc::default();
        let claimer = Claimer::new(ClaimerOptions {
            client: options.client.clone(),
            clock: options.clock.clone(),
            sandboxes: sandboxes.clone(),
            runtime,
            mount_deadline: options.mount_deadline,
            journal: options.journal.clone(),
            milestones: Some(journal::source::E2B),
        });
        let metrics = options.metrics.clone();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let shared = Arc::new(Shared {
            options,
            sandboxes,
            sets: Cache::default(),
            templates: Cache::default(),
            checkpoints: Cache::default(),
            keys,
            forwarder: Forwarder::default(),
            claimer,
            registry,
        });
        metrics.attach(&shared);
        Ok(Self { shared })
    }

    /// What is measured, as Prometheus reads it.
    ///
    /// # Errors
    /// When a metric can't be written, which would be a defect.
    pub fn metrics_text(&self) -> Result<String, std::fmt::Error> {
        service::metrics_text(&self.shared.registry)
    }

    /// Begins to watch sandboxes, pools and keys, and to collect abandoned claims. Requests that arrive before the
    /// first listing is complete wait for it.
    pub fn start(&self) -> Background {
        let mut background = self.watch();
        background.tasks.spawn(self.shared.claimer.clone().collect_abandoned());
        background
    }

    /// Deletes sandboxes whose claim was begun and is abandoned, for as long as it is polled. One replica is enough.
    pub async fn collect_abandoned(&self) {
        self.shared.claimer.clone().collect_abandoned().await;
    }

    /// The same as [`Manager::start`] without collecting.
    pub fn watch(&self) -> Background {
        let mut tasks = JoinSet::new();
        let client = &self.shared.options.client;
        let (shared, api) = (self.shared.clone(), Api::all(client.clone()));
        tasks.spawn(async move { shared.sandboxes.follow(api, watcher::Config::default()).await });
        let (shared, api) = (self.shared.clone(), Api::all(client.clone()));
        tasks.spawn(async move { shared.sets.follow(api, watcher::Config::default()).await });
        let (shared, api) = (self.shared.clone(), Api::all(client.clone()));
        tasks.spawn(async move { shared.templates.follow(api, watcher::Config::default()).await });
        let (shared, api) = (self.shared.clone(), Api::all(client.clone()));
        tasks.spawn(async move { shared.checkpoints.follow(api, watcher::Config::default()).await });
        if self.shared.options.authentication {
            let shared = self.shared.clone();
            tasks.spawn(async move { shared.keys.follow().await });
        }
        Background { tasks }
    }

    /// Waits until the manager knows what exists.
    ///
    /// # Errors
    /// 503 when the API server has not answered within five seconds.
    pub async fn ready(&self) -> Result<(), ApiError> {
        if self.is_synced() {
            return Ok(());
        }
        let synced = async {
            let mut sandboxes = self.shared.sandboxes.changes();
            let mut sets = self.shared.sets.changes();
            let mut templates = self.shared.templates.changes();
            let mut checkpoints = self.shared.checkpoints.changes();
            let mut keys = self.shared.keys.changes();
            while !self.is_synced() {
                tokio::select! {
                    _ = sandboxes.changed() => {}
                    _ = sets.changed() => {}
                    _ = templates.changed() => {}
                    _ = checkpoints.changed() => {}
                    _ = keys.changed() => {}
                }
            }
        };
        tokio::time::timeout(SYNC_LIMIT, synced).await.map_err(|_| {
            ApiError::new(
                contract::errors::Code::ClusterUnavailable,
                "the manager is starting and has not been able to read the Kubernetes API for 5 s, try again later",
            )
        })
    }

    /// Whether sandboxes, pools and keys have been listed.
    pub(crate) fn is_synced(&self) -> bool {
        let keys = !self.shared.options.authentication || self.shared.keys.is_synced();
        let objects = self.shared.sandboxes.is_synced() && self.shared.sets.is_synced();
        keys && objects && self.shared.templates.is_synced() && self.shared.checkpoints.is_synced()
    }

    /// The time by the manager's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.options.clock.now()
    }

    /// The sandbox with that id, whoever's it is and wherever it stands.
    pub(crate) fn sandbox(&self, id: &str) -> Option<Arc<Sandbox>> {
        if let Some(key) = SandboxKey::from_id(id) {
            return self.shared.sandboxes.get(&key.namespace, &key.name);
        }
        self.shared.sandboxes.select(|sandbox| sandboxes::id(sandbox) == id).pop()
    }

    /// The caller's sandbox with that id, and where it stands.
    ///
    /// # Errors
    /// 404, the same for a sandbox that is missing, somebody else's or not to be shown, so that ids can't be probed.
    pub(crate) fn owned(&self, caller: &Caller, id: &str) -> Result<(Arc<Sandbox>, Situation), ApiError> {
        let sandbox = self.sandbox(id).filter(|sandbox| self.owns(caller, sandbox));
        let sandbox = sandbox.ok_or_else(|| ApiError::sandbox_not_found(id))?;
        match Situation::of(&sandbox, self.now()) {
            Situation::Hidden => Err(ApiError::sandbox_not_found(id)),
            situation => Ok((sandbox, situation)),
        }
    }

    /// Whether a sandbox is the caller's.
    #[allow(clippy::unused_self, reason = "reads as a question to the manager")]
    pub(crate) fn owns(&self, caller: &Caller, sandbox: &Sandbox) -> bool {
        sandboxes::annotation(sandbox, annotations::OWNER) == Some(caller.id.as_str())
            && caller.sees(&sandbox.namespace().unwrap_or_default())
    }

    /// The sandbox API of one namespace.
    pub(crate) fn sandbox_api(&self, namespace: &str) -> Api<Sandbox> {
        Api::namespaced(self.shared.options.client.clone(), namespace)
    }

    /// Notes something in the journal, if there is one.
    pub(crate) fn record(&self, kind: &str, subject: &str, body: serde_json::Value) {
        if let Some(journal) = &self.shared.options.journal {
            journal.record(journal::source::E2B, kind, subject, body);
        }
    }
}
