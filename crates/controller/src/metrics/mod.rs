//! What the controller measures, for Prometheus (`kubernetes.md` §9.3).
//!
//! ```text
//! world: every change of a Sandbox or claim ─► progress (pure) ─► counters, durations ─┐
//! world: the objects as they are, at each scrape ─► objects ─────► gauges ─────────────┴─► /metrics
//! ```
//! Gauges are read from the world when somebody asks, so an object that is gone leaves no series behind; counts of a set
//! go with it. Durations are counted by the injected clock from when this controller saw the beginning; what began
//! before it is not counted. Names and meanings are those of [`contract::metrics::controller`].

mod containers;
mod counts;
mod labels;
mod objects;
mod pools;
mod progress;
mod sandboxes;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use contract::conditions::{self, types};
use contract::crd::{ClaimPhase, Sandbox, SandboxClaim};
use contract::metrics::controller as families;
use contract::metrics::{Family as Described, Kind};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::queue::ObjectName;
use crate::world::{World, name_of};
use containers::Containers;
use counts::SetCounts;
pub use labels::{LabelAllowList, LabelAllowListError};
use objects::Seen;
use progress::{Finished, Membership, Operation, Progress};

/// The controller's metrics; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    world: RwLock<Weak<World>>,
    labels: LabelAllowList,
    progress: Mutex<Progress>,
    containers: Mutex<Containers>,
    counts: Mutex<SetCounts>,
    creation: Measured,
    pause: Measured,
    resume: Measured,
    recycle: Measured,
    update: Durations,
    deletion: Durations,
    claim_durations: Durations,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Shared {
    fn default() -> Self {
        let measured = |total, duration| Measured {
            total: (total, Family::default()),
            duration: Durations::of(duration),
        };
        Self {
            world: RwLock::default(),
            labels: LabelAllowList::default(),
            progress: Mutex::default(),
            containers: Mutex::default(),
            counts: Mutex::default(),
            creation: measured(families::SANDBOX_CREATION_TOTAL, families::SANDBOX_CREATION_DURATION),
            pause: measured(families::SANDBOX_PAUSE_TOTAL, families::SANDBOX_PAUSE_DURATION),
            resume: measured(families::SANDBOX_RESUME_TOTAL, families::SANDBOX_RESUME_DURATION),
            recycle: measured(families::SANDBOX_RECYCLE_TOTAL, families::SANDBOX_RECYCLE_DURATION),
            update: Durations::of(families::SANDBOX_INPLACE_UPDATE_DURATION),
            deletion: Durations::of(families::SANDBOX_DELETION_DURATION),
            claim_durations: Durations::of(families::SANDBOX_CLAIM_DURATION),
        }
    }
}

/// One operation of a sandbox's life.
struct Measured {
    total: (Described, Family<ResultLabels, Counter>),
    duration: Durations,
}

/// Seconds, by namespace.
struct Durations {
    family: Described,
    histograms: Family<NamespaceLabels, Histogram, fn() -> Histogram>,
}

impl Durations {
    fn of(family: Described) -> Self {
        let make: fn() -> Histogram = match family.kind {
            Kind::Long => || Histogram::new(exponential_buckets(0.1, 2.0, 13)),
            Kind::Gauge | Kind::Counter | Kind::Short => {
                || Histogram::new(exponential_buckets(0.02, 2.0, 12))
            }
        };
        Self { family, histograms: Family::new_with_constructor(make) }
    }

    fn observe(&self, namespace: &str, took: SignedDuration) {
        let labels = NamespaceLabels { namespace: namespace.to_owned() };
        self.histograms.get_or_create(&labels).observe(took.as_secs_f64().max(0.0));
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(self.family.stem(), self.family.meaning, self.histograms.clone());
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

/// The word of label `result`.
fn result(succeeded: bool) -> &'static str {
    if succeeded { "success" } else { "failure" }
}

impl Metrics {
    /// Metrics of which `sandbox_labels` shows these labels.
    pub fn with_labels(labels: LabelAllowList) -> Self {
        Self { shared: Arc::new(Shared { labels, ..Shared::default() }) }
    }

    /// Adds every metric of the controller to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let shared = &self.shared;
        for measured in [&shared.creation, &shared.pause, &shared.resume, &shared.recycle] {
            let (family, total) = &measured.total;
            registry.register(family.stem(), family.meaning, total.clone());
            measured.duration.register(registry);
        }
        for durations in [&shared.update, &shared.deletion, &shared.claim_durations] {
            durations.register(registry);
        }
        registry.register_collector(Box::new(objects::Objects { metrics: self.clone() }));
    }

    /// Gauges are read from this world from now on.
    pub(crate) fn attach(&self, world: &Arc<World>) {
        *self.shared.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(world);
    }

    /// The objects of now, once there is a world.
    fn seen(&self) -> Option<Seen> {
        let shared = &self.shared;
        let world = shared.world.read().unwrap_or_else(PoisonError::into_inner).upgrade()?;
        let sandboxes = world.sandboxes();
        let with_pod = |sandbox: Arc<Sandbox>| (Arc::clone(&sandbox), world.pod(&name_of(sandbox.as_ref())));
        let counts = {
            let mut counts = locked(&shared.counts);
            if world.is_synced() {
                counts.keep(|set| world.set(set).is_some());
            }
            counts.clone()
        };
        Some(Seen {
            sandboxes: sandboxes.into_iter().map(with_pod).collect(),
            sets: world.sets(),
            claims: world.claims(),
            containers: locked(&shared.containers).clone(),
            counts,
            labels: shared.labels.clone(),
        })
    }

    /// A Sandbox has changed.
    pub(crate) fn saw_sandbox(&self, old: Option<&Sandbox>, new: Option<&Sandbox>, now: Timestamp) {
        let shared = &self.shared;
        let finished = locked(&shared.progress).see(old, new, now);
        let namespace = new.or(old).and_then(kube::ResourceExt::namespace).unwrap_or_default();
        for Finished { operation, succeeded, took } in finished {
            let measured = match operation {
                Operation::Creation => &shared.creation,
                Operation::Pause => &shared.pause,
                Operation::Resume => &shared.resume,
                Operation::Recycle => &shared.recycle,
                Operation::Update => {
                    shared.update.observe(&namespace, took);
                    continue;
                }
                Operation::Deletion => {
                    shared.deletion.observe(&namespace, took);
                    continue;
                }
            };
            let labels = ResultLabels { namespace: namespace.clone(), result: result(succeeded) };
            measured.total.1.get_or_create(&labels).inc();
            if succeeded {
                measured.duration.observe(&namespace, took);
            }
        }
        match progress::membership(old, new) {
            Some(Membership::Joined(set)) => locked(&shared.counts).of(set).created += 1,
            Some(Membership::Claimed(set)) => locked(&shared.counts).of(set).claimed += 1,
            None => {}
        }
    }

    /// A pod has changed.
    pub(crate) fn saw_pod(&self, old: Option<&Pod>, new: Option<&Pod>, now: Timestamp) {
        locked(&self.shared.containers).see(old, new, now);
    }

    /// A set is gone.
    pub(crate) fn set_is_gone(&self, set: &ObjectName) {
        locked(&self.shared.counts).forget(set);
    }

    /// A claim has changed; `has_set` says whether the set is there that it takes from.
    pub(crate) fn saw_claim(
        &self,
        old: Option<&SandboxClaim>,
        new: Option<&SandboxClaim>,
        has_set: impl Fn(&ObjectName) -> bool,
    ) {
        let (Some(old), Some(new)) = (old, new) else { return };
        let is_over = |claim: &SandboxClaim| {
            claim.status.as_ref().is_some_and(|status| status.phase == Some(ClaimPhase::Completed))
        };
        if is_over(old) || !is_over(new) {
            return;
        }
        let Some(status) = &new.status else { return };
        let namespace = new.namespace().unwrap_or_default();
        let set = ObjectName { namespace: namespace.clone(), name: new.spec.template_name.clone() };
        let succeeded = status.claimed_replicas >= Some(new.spec.replicas.unwrap_or(1));
        let is_there = has_set(&set);
        {
            let mut counts = locked(&self.shared.counts);
            let counts = if is_there { counts.of(set) } else { counts.of_no_set(namespace.clone()) };
            *counts.claims.entry(result(succeeded)).or_default() += 1;
            if conditions::is_true(&status.conditions, types::TIMED_OUT) {
                counts.expired += 1;
            }
        }
        if let (Some(begin), Some(end)) = (&status.claim_start_time, &status.completion_time) {
            self.shared.claim_durations.observe(&namespace, end.0.duration_since(begin.0));
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
