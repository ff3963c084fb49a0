//! What the manager measures, for Prometheus (`kubernetes.md` §9.3): its answers, the claims that it made for users of
//! the E2B API, and the sandboxes of now.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use contract::metrics::manager as families;
use http::StatusCode;
use jiff::SignedDuration;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::manager::Shared;
use crate::sandboxes::Situation;

/// The manager's metrics; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    manager: RwLock<Weak<Shared>>,
    answers: Family<StatusLabels, Counter>,
    claims: Mutex<BTreeMap<Claims, u64>>,
    durations: Family<NamespaceLabels, Histogram, fn() -> Histogram>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            manager: RwLock::default(),
            answers: Family::default(),
            claims: Mutex::default(),
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.02, 2.0, 12))),
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: u16,
}

/// Claims of one set that ended the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Claims {
    namespace: String,
    name: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespaceLabels {
    namespace: String,
}

impl Metrics {
    /// Adds every metric of the manager to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let inner = &self.inner;
        let answers = &families::SANDBOX_MANAGER_REQUESTS;
        registry.register(answers.stem(), answers.meaning, inner.answers.clone());
        let durations = &families::SANDBOX_CLAIM_DURATION;
        registry.register(durations.stem(), durations.meaning, inner.durations.clone());
        registry.register_collector(Box::new(Objects { metrics: self.clone() }));
    }

    /// The sandboxes are this manager's from now on.
    pub(crate) fn attach(&self, shared: &Arc<Shared>) {
        *self.inner.manager.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(shared);
    }

    /// Counts one answer of the control plane.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.inner.answers.get_or_create(&StatusLabels { status: status.as_u16() }).inc();
    }

    /// A claim has ended that took as long; nothing is said of the duration of one that failed.
    pub(crate) fn claimed(&self, namespace: String, set: String, succeeded: bool, took: SignedDuration) {
        if succeeded {
            let labels = NamespaceLabels { namespace: namespace.clone() };
            self.inner.durations.get_or_create(&labels).observe(took.as_secs_f64().max(0.0));
        }
        let result = if succeeded { "success" } else { "failure" };
        *self.claims().entry(Claims { namespace, name: set, result }).or_default() += 1;
    }

    fn claims(&self) -> MutexGuard<'_, BTreeMap<Claims, u64>> {
        self.inner.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is read at each scrape: claimed sandboxes by state, and the claims of the sets that are there.
#[derive(Debug)]
struct Objects {
    metrics: Metrics,
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let manager = self.metrics.inner.manager.read().unwrap_or_else(PoisonError::into_inner).upgrade();
        let Some(manager) = manager else { return Ok(()) };
        encode_claims(&mut encoder, &self.claims_of_now(&manager))?;
        let states_of = &families::SANDBOX_MANAGER_SANDBOXES;
        let mut family =
            encoder.encode_descriptor(states_of.stem(), states_of.meaning, None, MetricType::Gauge)?;
        for (state, count) in states(&manager) {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            ConstGauge::new(f64::from(count)).encode(family.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }
}

impl Objects {
    /// Forgets the claims of sets that are gone.
    fn claims_of_now(&self, manager: &Shared) -> BTreeMap<Claims, u64> {
        let mut claims = self.metrics.claims();
        if manager.sets.is_synced() {
            claims.retain(|of, _| manager.sets.get(&of.namespace, &of.name).is_some());
        }
        claims.clone()
    }
}

fn encode_claims(encoder: &mut DescriptorEncoder<'_>, claims: &BTreeMap<Claims, u64>) -> fmt::Result {
    if claims.is_empty() {
        return Ok(());
    }
    let family = &families::SANDBOXSET_CLAIMS;
    let mut family = encoder.encode_descriptor(family.stem(), family.meaning, None, MetricType::Counter)?;
    for (labels, count) in claims {
        ConstCounter::new(*count).encode(family.encode_family(labels)?)?;
    }
    Ok(())
}

/// Claimed sandboxes by state; both states are always there.
pub(crate) fn states(manager: &Shared) -> BTreeMap<&'static str, usize> {
    let now = manager.options.clock.now();
    let mut states = BTreeMap::from([("paused", 0), ("running", 0)]);
    for sandbox in manager.sandboxes.select(|_| true) {
        if let Some(word) = Situation::of(&sandbox, now).word() {
            *states.entry(word).or_default() += 1;
        }
    }
    states
}
