//! Many sandboxes with one OSS mount each, upgraded by one `SandboxUpdateOps`: how long it takes, and how many of them were
//! not ready at the same time, by the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clock::SystemClock;
use contract::crd::{ClaimPhase, Sandbox, SandboxClaim, SandboxUpdateOps};
use contract::state;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use journal::{Entry, source};
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt as _};
use lab::{Backend, Lab};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::create::{mebibytes, milliseconds};
use crate::document::{self, BUCKET, kubernetes};
use crate::in_lab::in_lab;
use crate::pool::{self, TEMPLATE};
use crate::{BenchError, Figure, Unit};

/// How many sandboxes there are.
const SANDBOXES: u32 = 100;
/// How many of them may be unavailable at the same time.
const AT_ONCE: u32 = 10;
/// How long making them may take, and upgrading them.
const DEADLINE: Duration = Duration::from_secs(900);
/// By which the sandboxes are known.
const LABEL: &str = "bench-rollout";

/// The figures of one rollout.
pub(crate) async fn measure(
    backend: &dyn Backend,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Figure>, BenchError> {
    in_lab(backend, async |lab| measure_on(lab, progress).await).await
}

async fn measure_on(lab: &dyn Lab, progress: &(dyn Fn(&str) + Sync)) -> Result<Vec<Figure>, BenchError> {
    let access = lab.access();
    let store = access.object_store.as_ref().ok_or(BenchError::NoObjectStore)?;
    scenario::create_bucket(store, BUCKET, SystemClock::shared()).await?;
    let client = document::client(access).await?;
    document::apply(&client, store).await?;
    pool::resize(&client, 0).await?;
    progress(&format!("{SANDBOXES} sandboxes are claimed"));
    let started = Instant::now();
    claim(&client).await?;
    let claimed = milliseconds(started);
    let memory = mebibytes(lab.memory().await?);
    lab.catch_up().await?;
    let first = lab.journal().len();
    progress(&format!("{SANDBOXES} sandboxes are upgraded, {AT_ONCE} at a time"));
    let started = Instant::now();
    upgrade(&client).await?;
    let upgraded = milliseconds(started);
    lab.catch_up().await?;
    let gaps = gaps(&lab.journal().entries()[first..]);
    let each = gaps.lengths.clone();
    Ok(vec![
        Figure::single(
            format!("{SANDBOXES} sandboxes with one OSS mount, claimed"),
            Unit::Milliseconds,
            claimed,
        ),
        Figure::single("memory with them", Unit::Mebibytes, memory),
        Figure::single(
            format!("upgraded by one SandboxUpdateOps, {AT_ONCE} at a time"),
            Unit::Milliseconds,
            upgraded,
        ),
        Figure::new("· each not ready for", Unit::Milliseconds, each),
        Figure::single("· upgraded", Unit::Count, count(gaps.sandboxes)).at_least(f64::from(SANDBOXES)),
        Figure::single("· largest unavailability", Unit::Count, count(gaps.largest))
            .at_most(f64::from(AT_ONCE)),
    ])
}

async fn claim(client: &kube::Client) -> Result<(), BenchError> {
    let claim = json!({
        "apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxClaim", "metadata": {"name": "bench"},
        "spec": {
            "templateName": TEMPLATE, "replicas": SANDBOXES, "labels": {LABEL: "yes"},
            "claimTimeout": "15m", "waitReadyTimeout": "5m",
            "dynamicVolumesMount": [{"pvName": "oss-pv-sandbox-system", "mountPath": "/data-oss"}],
        },
    });
    let is_over = |claim: &SandboxClaim| {
        let status = claim.status.as_ref()?;
        (status.phase == Some(ClaimPhase::Completed))
            .then(|| status.claimed_replicas.and_then(|count| u32::try_from(count).ok()) == Some(SANDBOXES))
    };
    create_and_wait(client, claim, "SandboxClaim", is_over).await
}

async fn upgrade(client: &kube::Client) -> Result<(), BenchError> {
    let operation = json!({
        "apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxUpdateOps", "metadata": {"name": "bench"},
        "spec": {
            "selector": {"matchLabels": {LABEL: "yes"}},
            "updateStrategy": {"maxUnavailable": AT_ONCE},
            "patch": {"spec": {"containers": [{"name": "sandbox", "image": "code-interpreter:upgraded"}]}},
        },
    });
    let is_over = |operation: &SandboxUpdateOps| {
        let status = operation.status.as_ref().filter(|_| operation.is_over())?;
        Some(u32::try_from(status.updated_replicas).ok() == Some(SANDBOXES))
    };
    create_and_wait(client, operation, "SandboxUpdateOps", is_over).await
}

/// Creates the object and waits until `is_over` says that it ended, well or not.
async fn create_and_wait<K>(
    client: &kube::Client,
    object: Value,
    kind: &'static str,
    is_over: impl Fn(&K) -> Option<bool>,
) -> Result<(), BenchError>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + serde::Serialize
        + Send
        + 'static,
{
    let api: Api<K> = Api::default_namespaced(client.clone());
    let object: K = serde_json::from_value(object).map_err(kubernetes("write an object"))?;
    api.create(&PostParams::default(), &object).await.map_err(kubernetes("create an object"))?;
    let mut changes = std::pin::pin!(watcher(api, watcher::Config::default()).applied_objects());
    let mut last = "not seen".to_owned();
    let over = async {
        while let Some(object) = changes.try_next().await.map_err(kubernetes("watch an object"))? {
            last = json!(object)["status"].to_string();
            match is_over(&object) {
                None => {}
                Some(true) => return Ok(()),
                Some(false) => return Err(BenchError::Ended { object: kind, status: last.clone() }),
            }
        }
        Err(BenchError::WatchEnded(kind))
    };
    match tokio::time::timeout(DEADLINE, over).await {
        Ok(outcome) => outcome,
        Err(_) => Err(BenchError::Deadline { deadline: "rollout deadline", limit: DEADLINE, last }),
    }
}

/// When sandboxes were not ready.
#[derive(Debug, Default, PartialEq)]
struct Gaps {
    /// How many were not ready at some time and are again.
    sandboxes: usize,
    /// How many were not ready at the same time, at most.
    largest: usize,
    /// How long each of them was not ready, in milliseconds.
    lengths: Vec<f64>,
}

/// From the entries since a time at which all were ready.
fn gaps(entries: &[Arc<Entry>]) -> Gaps {
    let mut unready: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut again = BTreeSet::new();
    let mut gaps = Gaps::default();
    for entry in entries {
        let Some(sandbox) = sandbox(entry) else { continue };
        let name = sandbox.name_any();
        if state::is_ready(&sandbox) {
            if let Some(since) = unready.remove(&name) {
                gaps.lengths.push(entry.time.duration_since(since).as_secs_f64() * 1000.0);
                again.insert(name);
            }
        } else {
            unready.entry(name).or_insert(entry.time);
            gaps.largest = gaps.largest.max(unready.len());
        }
    }
    gaps.sandboxes = again.len();
    gaps
}

/// The sandbox that the entry shows, if it is one of those that are upgraded.
fn sandbox(entry: &Entry) -> Option<Sandbox> {
    if entry.source != source::KUBERNETES || !entry.subject.starts_with("Sandbox/") {
        return None;
    }
    let sandbox = Sandbox::deserialize(&entry.body).ok()?;
    sandbox.labels().contains_key(LABEL).then_some(sandbox)
}

#[allow(clippy::cast_precision_loss, reason = "a few hundred at most")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(second: i64, name: &str, ready: &str) -> Arc<Entry> {
        let time = Timestamp::from_second(second).expect("a small number");
        let body = json!({
            "apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox", "spec": {},
            "metadata": {"name": name, "labels": {LABEL: "yes"}},
            "status": {"conditions": [
                {"type": "Ready", "status": ready, "reason": "R", "message": "", "lastTransitionTime": time.to_string()},
            ]},
        });
        let subject = format!("Sandbox/default/{name}");
        let (source, kind) = (source::KUBERNETES.to_owned(), "MODIFIED".to_owned());
        Arc::new(Entry { sequence: 0, time, source, kind, subject, body })
    }

    #[test]
    fn the_largest_unavailability_counts_what_was_not_ready_together() {
        let told = [
            (1, "a", "False"),
            (2, "a", "False"),
            (3, "b", "False"),
            (4, "a", "True"),
            (5, "c", "False"),
            (6, "b", "True"),
            (7, "c", "True"),
            (8, "c", "True"),
        ];
        let entries: Vec<_> = told.iter().map(|(second, name, ready)| entry(*second, name, ready)).collect();
        let expected = Gaps { sandboxes: 3, largest: 2, lengths: vec![3000.0, 3000.0, 2000.0] };
        assert_eq!(gaps(&entries), expected);
    }
}
