//! Gauges and counters of sets and claims.

use std::fmt;

use contract::crd::{ClaimPhase, SandboxClaim, SandboxSet};
use contract::metrics::controller as families;
use prometheus_client::encoding::DescriptorEncoder;

use super::objects::{Gauge, Label, Seen, counter, created, gauge, gauges, seconds, with};
use crate::queue::ObjectName;

const SETS: [Gauge<SandboxSet>; 6] = [
    (families::SANDBOXSET_CREATED, created),
    (families::SANDBOXSET_DESIRED_REPLICAS, |set| Some(f64::from(set.spec.replicas))),
    (families::SANDBOXSET_REPLICAS, |set| Some(f64::from(set.status.as_ref()?.replicas))),
    (families::SANDBOXSET_AVAILABLE_REPLICAS, |set| Some(f64::from(set.status.as_ref()?.available_replicas))),
    (families::SANDBOXSET_UPDATED_REPLICAS, |set| set.status.as_ref()?.updated_replicas.map(f64::from)),
    (families::SANDBOXSET_UPDATED_AVAILABLE_REPLICAS, |set| {
        set.status.as_ref()?.updated_available_replicas.map(f64::from)
    }),
];

const CLAIMS: [Gauge<SandboxClaim>; 5] = [
    (families::SANDBOX_CLAIM_CREATED, created),
    (families::SANDBOX_CLAIM_DESIRED_REPLICAS, |claim| Some(f64::from(claim.spec.replicas.unwrap_or(1)))),
    (families::SANDBOX_CLAIM_CLAIMED_REPLICAS, |claim| {
        claim.status.as_ref()?.claimed_replicas.map(f64::from)
    }),
    (families::SANDBOX_CLAIM_START_TIME, |claim| {
        claim.status.as_ref()?.claim_start_time.as_ref().map(seconds)
    }),
    (families::SANDBOX_CLAIM_COMPLETION_TIME, |claim| {
        claim.status.as_ref()?.completion_time.as_ref().map(seconds)
    }),
];

pub(super) fn encode(seen: &Seen, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    gauges(encoder, &SETS, &seen.sets.iter().map(AsRef::as_ref))?;
    encode_counts(seen, encoder)?;
    let claims = || seen.claims.iter().map(AsRef::as_ref);
    let templates = claims().map(|it| (with(it, "template", &it.spec.template_name), 1.0));
    gauge(encoder, &families::SANDBOX_CLAIM_INFO, templates)?;
    let phases = claims().map(|it| (with(it, "phase", claim_phase(it)), 1.0));
    gauge(encoder, &families::SANDBOX_CLAIM_STATUS_PHASE, phases)?;
    gauges(encoder, &CLAIMS, &claims())
}

/// A counter has a series from its first count on.
fn encode_counts(seen: &Seen, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let some = |name: &ObjectName, count: u64| (count > 0).then(|| (labels(name), count));
    let all = || seen.counts.all();
    let values = all().filter_map(|(set, counts)| some(set, counts.created));
    counter(encoder, &families::SANDBOXSET_SANDBOXES_CREATED, values)?;
    let values = all().filter_map(|(set, counts)| some(set, counts.claimed));
    counter(encoder, &families::SANDBOXSET_SANDBOXES_CLAIMED, values)?;
    let values = all().flat_map(|(set, counts)| {
        counts.claims.iter().map(move |(result, count)| {
            let result = ("result", (*result).to_owned());
            (labels(set).into_iter().chain([result]).collect::<Vec<_>>(), *count)
        })
    });
    counter(encoder, &families::SANDBOXSET_CLAIMS, values)?;
    let values = all().filter_map(|(set, counts)| some(set, counts.expired));
    counter(encoder, &families::SANDBOXCLAIM_EXPIRED, values)
}

fn labels(set: &ObjectName) -> Vec<Label> {
    let name = (!set.name.is_empty()).then(|| ("name", set.name.clone()));
    [Some(("namespace", set.namespace.clone())), name].into_iter().flatten().collect()
}

fn claim_phase(claim: &SandboxClaim) -> &'static str {
    match claim.status.as_ref().and_then(|status| status.phase) {
        Some(ClaimPhase::Completed) => "Completed",
        Some(ClaimPhase::Claiming) | None => "Claiming",
    }
}
