//! The controller: keeps the pools of `SandboxSets` filled, turns Sandboxes into pods, and takes sandboxes out of pools
//! for `SandboxClaims`.
//!
//! ```text
//!            watch                        key                    decide (pure)            act
//! API server ─────► world (copies of all ─────► queue ─► worker ─► set::plan ───────────► create, lock, delete
//!                   objects, by owner)            ▲                sandbox::decide ─────► pod, status, delete
//!                                                 │              claim::decide ───────► attempts (crate claim), status
//!                              deadlines on the injected clock, retries with growing delay
//! ```
//!
//! kube-rs brings the watchers; the loop around them is this crate's own, for two reasons. Deadlines
//! (`shutdownTime`, retries) must follow the injected clock, which a scenario can move, and the ready-made
//! controller sleeps on the machine's time. And a change must reach a worker at once: a key goes from the watch
//! event into the queue without a timer in between. One key is worked on by one worker at a time; while it is, later
//! events for it collapse into one more turn.
//!
//! Decisions are pure functions of the objects and the time ([`sandbox::decide`], [`set::plan`], [`claim::decide`], [`operation::decide`], and what they make:
//! [`sandbox::build_pod`], [`set::generated_sandbox`]) and are tested as tables; carrying them out is kept apart.
//!
//! When the main container of a claimed Sandbox is replaced, its runtime is initialised again and all its mounts come
//! back before the Sandbox is Ready ([`sandbox::Attempt`]). The first initialisation is the claim's business.
//!
//! A Sandbox with `spec.paused` loses its pod and gets another when that is taken back, from the template, the
//! injection configuration, the volumes and Secrets of then; its mounts are there before it is Ready. One with NAS
//! storage keeps running instead and says why, by hand and at its automatic deadline (`docs/design/0012-hibernation.md`).
//!
//! A Checkpoint is taken by the node of the sandbox's pod; here it is checked, ordered, told and let go
//! (`docs/design/0015-checkpoints.md`).
//!
//! A `SandboxUpdateOps` changes the templates of claimed sandboxes, a few at a time, and counts how their upgrades go
//! ([`operation::decide`], `docs/design/0017-update-operations.md`).
//!
//! A claimed Sandbox that may be recycled goes back to its pool instead of being deleted: its storage is unmounted, its pod
//! replaced and everything of its claim taken off it (`docs/design/0018-recycling.md`).

mod announce;
mod api;
pub mod checkpoint;
pub mod claim;
mod command;
mod dispatch;
mod install;
mod metrics;
pub mod operation;
mod queue;
pub mod sandbox;
pub mod set;
mod world;

use std::sync::Arc;
use std::time::Duration;

use ::claim::{Claimer, ClaimerOptions};
use clock::SharedClock;
use contract::resolve::DriverList;
use journal::Journal;
use kube::Client;
use runtime_client::RuntimeClient;

pub use command::main;
pub use metrics::{LabelAllowList, LabelAllowListError, Metrics};
pub use runtime_client::{RuntimeCertificates, RuntimeSetupError};

/// What the controller is given.
#[derive(Clone)]
pub struct ControllerOptions {
    /// Access to the API server.
    pub client: Client,
    /// Time for deadlines, retries and conditions.
    pub clock: SharedClock,
    /// Namespace of ConfigMap `sandbox-injection-config`, normally `sandbox-system`.
    pub namespace: String,
    /// Drivers that may mount, when a replaced container gets its mounts back.
    pub drivers: DriverList,
    /// How long the mounts of one sandbox may take together. Default: 50 s, as on the manager (DECISIONS 8).
    pub mount_deadline: Duration,
    /// How long the recycling of a sandbox may take. Default: 60 s, and 10 s of grace.
    pub recycling: sandbox::RecyclingLimits,
    /// Client certificates for sandboxes that serve their runtime over TLS. With them, sandboxes that ask for
    /// `agent-runtime` are marked as serving TLS before their pod is made (`kubernetes.md` §5.2). Default: none.
    pub runtime_certificates: Option<RuntimeCertificates>,
    /// Whose entries must not show the Secrets that the controller reads. Default: none.
    pub journal: Option<Journal>,
    /// What is measured; registered by whoever shows it. Default: nobody does.
    pub metrics: Metrics,
}

impl ControllerOptions {
    /// The defaults.
    pub fn new(client: Client, clock: SharedClock) -> Self {
        Self {
            client,
            clock,
            namespace: contract::names::SYSTEM_NAMESPACE.to_owned(),
            drivers: DriverList::default(),
            mount_deadline: Duration::from_secs(50),
            recycling: sandbox::RecyclingLimits::default(),
            runtime_certificates: None,
            journal: None,
            metrics: Metrics::default(),
        }
    }
}

impl std::fmt::Debug for ControllerOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ControllerOptions")
            .field("namespace", &self.namespace)
            .field("drivers", &self.drivers)
            .finish_non_exhaustive()
    }
}

/// Why the controller stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The default injection configuration could not be installed.
    #[error(
        "cannot install ConfigMap {namespace}/sandbox-injection-config: check the API server and the permissions"
    )]
    Install {
        /// Where it should be.
        namespace: String,
        /// What the API said.
        source: kube::Error,
    },
    /// The certificates for sandboxes that serve TLS can't be used.
    #[error("the client certificates for sandbox runtimes cannot be used")]
    Certificates(#[from] RuntimeSetupError),
    /// A watch ended for good.
    #[error("the watch of {kind} ended, restart the controller")]
    WatchEnded {
        /// What was watched.
        kind: &'static str,
    },
}

/// Runs the controller until it is dropped or cannot go on. Installs the default injection configuration if there is
/// none; never overwrites one.
///
/// # Errors
/// [`Error::Certificates`] and [`Error::Install`] at the start; [`Error::WatchEnded`] should not happen, watches are restarted with a delay.
pub async fn run(options: ControllerOptions) -> Result<(), Error> {
    let runtime = RuntimeClient::new(options.runtime_certificates.as_ref())?;
    install::injection_config(&options.client, &options.namespace).await?;
    let queue = Arc::new(queue::Queue::default());
    let (clock, metrics) = (options.clock.clone(), options.metrics.clone());
    let world = Arc::new(world::World::new(Arc::clone(&queue), clock, metrics));
    options.metrics.attach(&world);
    let claimer = Claimer::new(ClaimerOptions {
        client: options.client.clone(),
        clock: options.clock.clone(),
        sandboxes: Arc::clone(&world.pool),
        runtime,
        mount_deadline: options.mount_deadline,
        journal: options.journal.clone(),
        milestones: None,
    });
    let context =
        Arc::new(api::Context::new(&options, claimer.clone(), Arc::clone(&world), Arc::clone(&queue)));
    tokio::select! {
        ended = Box::pin(world::watch_all(&options, &world)) => Err(ended),
        () = Box::pin(claimer.collect_abandoned()) => Err(Error::WatchEnded { kind: "Sandbox" }),
        never = Box::pin(dispatch::work(context, queue)) => match never {},
    }
}
