//! Gauges of the objects as they are when somebody asks.

use std::fmt;
use std::sync::Arc;

use contract::conditions::{self, types};
use contract::crd::{ClaimPhase, Sandbox, SandboxClaim, SandboxPhase, SandboxSet};
use contract::names::labels;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{Resource, ResourceExt as _};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Metrics;

/// Reads the world at each scrape.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) metrics: Metrics,
}

/// A gauge of one object: its name, its help, and how to read it; an object without a value has no series.
type Gauge<K> = (&'static str, &'static str, fn(&K) -> Option<f64>);

const SANDBOX_GAUGES: [Gauge<Sandbox>; 4] = [
    ("sandbox_created", "When the sandbox was created, in Unix seconds", created),
    ("sandbox_deletion_timestamp", "When the sandbox was told to go, in Unix seconds", |sandbox| {
        sandbox.metadata.deletion_timestamp.as_ref().map(seconds)
    }),
    ("sandbox_status_ready", "Whether the sandbox is ready", |sandbox| {
        Some(flag(ready(sandbox).is_some_and(|condition| condition.status == "True")))
    }),
    ("sandbox_status_ready_time", "Since when it is as it says, in Unix seconds", |sandbox| {
        ready(sandbox).map(|condition| seconds(&condition.last_transition_time))
    }),
];

const SET_GAUGES: [Gauge<SandboxSet>; 6] = [
    ("sandboxset_created", "When the set was created, in Unix seconds", created),
    ("sandboxset_desired_replicas", "Unclaimed sandboxes that the set should have", |set| {
        Some(f64::from(set.spec.replicas))
    }),
    ("sandboxset_replicas", "Unclaimed sandboxes that the set has", |set| {
        Some(f64::from(set.status.as_ref()?.replicas))
    }),
    ("sandboxset_available_replicas", "Those of them that can be taken", |set| {
        Some(f64::from(set.status.as_ref()?.available_replicas))
    }),
    ("sandboxset_updated_replicas", "Those of them that are of the template of now", |set| {
        set.status.as_ref()?.updated_replicas.map(f64::from)
    }),
    ("sandboxset_updated_available_replicas", "Those that are both", |set| {
        set.status.as_ref()?.updated_available_replicas.map(f64::from)
    }),
];

const CLAIM_GAUGES: [Gauge<SandboxClaim>; 5] = [
    ("sandbox_claim_created", "When the claim was created, in Unix seconds", created),
    ("sandbox_claim_desired_replicas", "Sandboxes that the claim asks for", |claim| {
        Some(f64::from(claim.spec.replicas.unwrap_or(1)))
    }),
    ("sandbox_claim_claimed_replicas", "Sandboxes that the claim has", |claim| {
        claim.status.as_ref()?.claimed_replicas.map(f64::from)
    }),
    ("sandbox_claim_start_time", "When the claim began, in Unix seconds", |claim| {
        claim.status.as_ref()?.claim_start_time.as_ref().map(seconds)
    }),
    ("sandbox_claim_completion_time", "When the claim ended, in Unix seconds", |claim| {
        claim.status.as_ref()?.completion_time.as_ref().map(seconds)
    }),
];

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(world) = self.metrics.world() else { return Ok(()) };
        let sandboxes = world.sandboxes();
        encode(
            &mut encoder,
            "sandbox_info",
            "What the sandbox is of",
            sandboxes.iter().map(|it| (info(it), 1.0)),
        )?;
        let phases = sandboxes.iter().map(|it| (with(it.as_ref(), "phase", phase(it)), 1.0));
        encode(&mut encoder, "sandbox_status_phase", "The phase that the sandbox is in", phases)?;
        encode_all(&mut encoder, &SANDBOX_GAUGES, &sandboxes)?;
        encode_all(&mut encoder, &SET_GAUGES, &world.sets())?;
        let claims = world.claims();
        let templates =
            claims.iter().map(|it| (with(it.as_ref(), "template", it.spec.template_name.clone()), 1.0));
        encode(&mut encoder, "sandbox_claim_info", "The set that the claim takes from", templates)?;
        let phases = claims.iter().map(|it| (with(it.as_ref(), "phase", claim_phase(it)), 1.0));
        encode(&mut encoder, "sandbox_claim_status_phase", "The phase that the claim is in", phases)?;
        encode_all(&mut encoder, &CLAIM_GAUGES, &claims)
    }
}

fn encode_all<K: Resource<DynamicType = ()>>(
    encoder: &mut DescriptorEncoder<'_>,
    gauges: &[Gauge<K>],
    objects: &[Arc<K>],
) -> fmt::Result {
    for (name, help, value) in gauges {
        let values = objects.iter().filter_map(|object| Some((named(object.as_ref()), value(object)?)));
        encode(encoder, name, help, values)?;
    }
    Ok(())
}

fn encode<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (L, f64)>,
) -> fmt::Result {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

type Label = (&'static str, String);

fn named<K: Resource>(object: &K) -> [Label; 2] {
    [("namespace", object.namespace().unwrap_or_default()), ("name", object.name_any())]
}

fn with<K: Resource>(object: &K, label: &'static str, value: String) -> [Label; 3] {
    let [namespace, name] = named(object);
    [namespace, name, (label, value)]
}

fn info(sandbox: &Arc<Sandbox>) -> [Label; 5] {
    let [namespace, name] = named(sandbox.as_ref());
    let label = |key: &str| sandbox.labels().get(key).cloned().unwrap_or_default();
    let node = sandbox.status.as_ref().and_then(|status| status.node_name.clone()).unwrap_or_default();
    [
        namespace,
        name,
        ("sandbox_pool", label(labels::SANDBOX_POOL)),
        ("node", node),
        ("sandbox_template", label(labels::SANDBOX_TEMPLATE)),
    ]
}

fn phase(sandbox: &Sandbox) -> String {
    let phase = sandbox.status.as_ref().map(|status| &status.phase);
    match phase {
        None | Some(SandboxPhase::None) => SandboxPhase::Pending.as_str().to_owned(),
        Some(phase) => phase.as_str().to_owned(),
    }
}

fn claim_phase(claim: &SandboxClaim) -> String {
    match claim.status.as_ref().and_then(|status| status.phase) {
        Some(ClaimPhase::Completed) => "Completed".to_owned(),
        Some(ClaimPhase::Claiming) | None => "Claiming".to_owned(),
    }
}

fn ready(sandbox: &Sandbox) -> Option<&Condition> {
    conditions::find(&sandbox.status.as_ref()?.conditions, types::READY)
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn created<K: Resource>(object: &K) -> Option<f64> {
    object.creation_timestamp().as_ref().map(seconds)
}

fn seconds(time: &Time) -> f64 {
    time.0.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
}
