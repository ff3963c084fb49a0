//! What the manager measures, for Prometheus (`kubernetes.md` §9.3): its answers, the claims that it made for users of
//! the E2B API, and the sandboxes of now.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use http::StatusCode;
use jiff::SignedDuration;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
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
    claims: Family<ClaimLabels, Counter>,
    durations: Family<NamespaceLabels, Histogram, fn() -> Histogram>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            manager: RwLock::default(),
            answers: Family::default(),
            claims: Family::default(),
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClaimLabels {
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
        let answers = "Answers of the control plane by status";
        registry.register("sandbox_manager_requests", answers, inner.answers.clone());
        let claims = "Claims through the E2B API, by set and result";
        registry.register("sandboxset_claims", claims, inner.claims.clone());
        let durations = "Seconds that successful claims took, from the request to everything mounted";
        registry.register("sandbox_claim_duration_seconds", durations, inner.durations.clone());
        registry.register_collector(Box::new(States { metrics: self.clone() }));
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
        self.inner.claims.get_or_create(&ClaimLabels { namespace, name: set, result }).inc();
    }
}

/// Claimed sandboxes by state, counted at each scrape.
#[derive(Debug)]
struct States {
    metrics: Metrics,
}

impl Collector for States {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let manager = self.metrics.inner.manager.read().unwrap_or_else(PoisonError::into_inner).upgrade();
        let Some(manager) = manager else { return Ok(()) };
        let help = "Claimed sandboxes by state";
        let mut family =
            encoder.encode_descriptor("sandbox_manager_sandboxes", help, None, MetricType::Gauge)?;
        for (state, count) in states(&manager) {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            ConstGauge::new(f64::from(count)).encode(family.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }
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
