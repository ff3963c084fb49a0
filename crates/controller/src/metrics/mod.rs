//! What the controller measures, for Prometheus (`kubernetes.md` §9.3).
//!
//! ```text
//! world: every change of a Sandbox or claim ─► progress (pure) ─► counters, durations ─┐
//! world: the objects as they are, at each scrape ─► objects ─────► gauges ─────────────┴─► /metrics
//! ```
//! Gauges are read from the world when somebody asks, so an object that is gone leaves no series behind. Durations are
//! counted by the injected clock from when this controller saw the beginning; what began before it is not counted.

mod objects;
mod progress;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use contract::conditions::{self, types};
use contract::crd::{ClaimPhase, Sandbox, SandboxClaim};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::world::World;
use progress::{Finished, Membership, Operation, Progress};

/// The controller's metrics; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    world: RwLock<Weak<World>>,
    progress: Mutex<Progress>,
    creation: Measured,
    pause: Measured,
    resume: Measured,
    recycle: Measured,
    created: Family<SetLabels, Counter>,
    claimed: Family<SetLabels, Counter>,
    claims: Family<ClaimLabels, Counter>,
    claim_durations: Durations,
    expired: Family<SetLabels, Counter>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Shared {
    fn default() -> Self {
        let short = || Measured::by(short_histogram);
        Self {
            world: RwLock::default(),
            progress: Mutex::default(),
            creation: short(),
            pause: short(),
            resume: short(),
            recycle: Measured::by(long_histogram),
            created: Family::default(),
            claimed: Family::default(),
            claims: Family::default(),
            claim_durations: Durations(Family::new_with_constructor(short_histogram)),
            expired: Family::default(),
        }
    }
}

/// One operation of a sandbox's life.
struct Measured {
    total: Family<ResultLabels, Counter>,
    duration: Durations,
}

impl Measured {
    fn by(histogram: fn() -> Histogram) -> Self {
        Self { total: Family::default(), duration: Durations(Family::new_with_constructor(histogram)) }
    }
}

/// 12 buckets from 20 ms on, each twice the one before.
fn short_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.02, 2.0, 12))
}

/// 13 buckets from 100 ms on, each twice the one before.
fn long_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.1, 2.0, 13))
}

/// Seconds, by namespace.
struct Durations(Family<NamespaceLabels, Histogram, fn() -> Histogram>);

impl Durations {
    fn observe(&self, namespace: &str, took: SignedDuration) {
        let labels = NamespaceLabels { namespace: namespace.to_owned() };
        self.0.get_or_create(&labels).observe(took.as_secs_f64().max(0.0));
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespaceLabels {
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    namespace: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SetLabels {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClaimLabels {
    namespace: String,
    name: String,
    result: &'static str,
}

/// The word of label `result`.
fn result(succeeded: bool) -> &'static str {
    if succeeded { "success" } else { "failure" }
}

impl Metrics {
    /// Adds every metric of the controller to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let shared = &self.shared;
        let operations = [
            ("creation", &shared.creation),
            ("pause", &shared.pause),
            ("resume", &shared.resume),
            ("recycle", &shared.recycle),
        ];
        for (name, measured) in operations {
            let help = format!("Ends of a sandbox's {name} by result");
            registry.register(format!("sandbox_{name}"), help, measured.total.clone());
            let help = format!("Seconds that a sandbox's {name} took");
            registry.register(format!("sandbox_{name}_duration_seconds"), help, measured.duration.0.clone());
        }
        let created = "Sandboxes that a set has got";
        registry.register("sandboxset_sandboxes_created", created, shared.created.clone());
        let claimed = "Sandboxes that were taken out of a set's pool";
        registry.register("sandboxset_sandboxes_claimed", claimed, shared.claimed.clone());
        let claims = "SandboxClaims that have ended, by set and result";
        registry.register("sandboxset_claims", claims, shared.claims.clone());
        let expired = "SandboxClaims that reached their limit, by set";
        registry.register("sandboxclaim_expired", expired, shared.expired.clone());
        let durations = "Seconds from a SandboxClaim's first turn to its end";
        registry.register("sandbox_claim_duration_seconds", durations, shared.claim_durations.0.clone());
        registry.register_collector(Box::new(objects::Objects { metrics: self.clone() }));
    }

    /// Gauges are read from this world from now on.
    pub(crate) fn attach(&self, world: &Arc<World>) {
        *self.shared.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(world);
    }

    fn world(&self) -> Option<Arc<World>> {
        self.shared.world.read().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// A Sandbox has changed.
    pub(crate) fn saw_sandbox(&self, old: Option<&Sandbox>, new: Option<&Sandbox>, now: Timestamp) {
        let shared = &self.shared;
        let finished = shared.progress.lock().unwrap_or_else(PoisonError::into_inner).see(old, new, now);
        if let Some(Finished { operation, succeeded, took }) = finished {
            let measured = match operation {
                Operation::Creation => &shared.creation,
                Operation::Pause => &shared.pause,
                Operation::Resume => &shared.resume,
                Operation::Recycle => &shared.recycle,
            };
            let namespace = new.or(old).and_then(kube::ResourceExt::namespace).unwrap_or_default();
            let labels = ResultLabels { namespace: namespace.clone(), result: result(succeeded) };
            measured.total.get_or_create(&labels).inc();
            if succeeded {
                measured.duration.observe(&namespace, took);
            }
        }
        let (counter, set) = match progress::membership(old, new) {
            Some(Membership::Joined(set)) => (&shared.created, set),
            Some(Membership::Claimed(set)) => (&shared.claimed, set),
            None => return,
        };
        counter.get_or_create(&SetLabels { namespace: set.namespace, name: set.name }).inc();
    }

    /// A claim has changed.
    pub(crate) fn saw_claim(&self, old: Option<&SandboxClaim>, new: Option<&SandboxClaim>) {
        let (Some(old), Some(new)) = (old, new) else { return };
        let is_over = |claim: &SandboxClaim| {
            claim.status.as_ref().is_some_and(|status| status.phase == Some(ClaimPhase::Completed))
        };
        if is_over(old) || !is_over(new) {
            return;
        }
        let Some(status) = &new.status else { return };
        let (namespace, name) = (new.namespace().unwrap_or_default(), new.spec.template_name.clone());
        let succeeded = status.claimed_replicas >= Some(new.spec.replicas.unwrap_or(1));
        let labels =
            ClaimLabels { namespace: namespace.clone(), name: name.clone(), result: result(succeeded) };
        self.shared.claims.get_or_create(&labels).inc();
        if conditions::is_true(&status.conditions, types::TIMED_OUT) {
            let labels = SetLabels { namespace: namespace.clone(), name };
            self.shared.expired.get_or_create(&labels).inc();
        }
        if let (Some(begin), Some(end)) = (&status.claim_start_time, &status.completion_time) {
            self.shared.claim_durations.observe(&namespace, end.0.duration_since(begin.0));
        }
    }
}
