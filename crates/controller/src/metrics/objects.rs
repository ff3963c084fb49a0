//! Everything that is read of the objects of now when somebody asks.

use std::fmt;
use std::sync::Arc;

use contract::crd::{Sandbox, SandboxClaim, SandboxSet};
use contract::metrics::Family;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, ResourceExt as _};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::containers::Containers;
use super::counts::SetCounts;
use super::labels::LabelAllowList;
use super::{Metrics, pools, sandboxes};

/// Reads the world at each scrape.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) metrics: Metrics,
}

/// The objects of one moment, and what is remembered of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Each with its pod, if there is one.
    pub(super) sandboxes: Vec<(Arc<Sandbox>, Option<Arc<Pod>>)>,
    pub(super) sets: Vec<Arc<SandboxSet>>,
    pub(super) claims: Vec<Arc<SandboxClaim>>,
    pub(super) containers: Containers,
    pub(super) counts: SetCounts,
    pub(super) labels: LabelAllowList,
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.metrics.seen().map_or(Ok(()), |seen| seen.encode(&mut encoder))
    }
}

impl Seen {
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        sandboxes::encode(self, encoder)?;
        pools::encode(self, encoder)
    }
}

/// A gauge of one object, and how to read it; an object without a value has no series.
pub(super) type Gauge<K> = (Family, fn(&K) -> Option<f64>);

pub(super) type Label = (&'static str, String);

pub(super) fn gauges<'a, K: Resource<DynamicType = ()> + 'a>(
    encoder: &mut DescriptorEncoder<'_>,
    gauges: &[Gauge<K>],
    objects: &(impl Iterator<Item = &'a K> + Clone),
) -> fmt::Result {
    for (family, value) in gauges {
        let values = objects.clone().filter_map(|object| Some((named(object), value(object)?)));
        gauge(encoder, family, values)?;
    }
    Ok(())
}

pub(super) fn gauge<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    values: impl Iterator<Item = (L, f64)>,
) -> fmt::Result {
    let values = values.map(|(labels, value)| (labels, ConstGauge::new(value)));
    series(encoder, family, MetricType::Gauge, values)
}

pub(super) fn counter<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    values: impl Iterator<Item = (L, u64)>,
) -> fmt::Result {
    let values = values.map(|(labels, value)| (labels, ConstCounter::new(value)));
    series(encoder, family, MetricType::Counter, values)
}

fn series<L: EncodeLabelSet, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    kind: MetricType,
    values: impl Iterator<Item = (L, M)>,
) -> fmt::Result {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut written = encoder.encode_descriptor(family.stem(), family.meaning, None, kind)?;
    for (labels, value) in values {
        value.encode(written.encode_family(&labels)?)?;
    }
    Ok(())
}

pub(super) fn named<K: Resource>(object: &K) -> [Label; 2] {
    [("namespace", object.namespace().unwrap_or_default()), ("name", object.name_any())]
}

pub(super) fn with<K: Resource>(object: &K, label: &'static str, value: &str) -> [Label; 3] {
    let [namespace, name] = named(object);
    [namespace, name, (label, escaped(value))]
}

/// Text that a user may have written, as a label's value: the client writes values as they are, and a quotation mark would
/// end the page.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub(super) fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

pub(super) fn created<K: Resource>(object: &K) -> Option<f64> {
    object.creation_timestamp().as_ref().map(seconds)
}

pub(super) fn seconds(time: &Time) -> f64 {
    unix(time.0)
}

pub(super) fn unix(time: Timestamp) -> f64 {
    time.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
}
