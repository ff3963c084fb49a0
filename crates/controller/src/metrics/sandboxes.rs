//! Gauges of sandboxes.

use std::fmt;
use std::sync::Arc;

use contract::conditions::{self, types};
use contract::crd::{Sandbox, SandboxPhase};
use contract::metrics::controller as families;
use contract::names::labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use prometheus_client::encoding::DescriptorEncoder;

use super::containers::{self, Containers};
use super::objects::{Gauge, Label, Seen, created, flag, gauge, gauges, named, seconds, unix, with};

const GAUGES: [Gauge<Sandbox>; 10] = [
    (families::SANDBOX_CREATED, created),
    (families::SANDBOX_DELETION_TIMESTAMP, |sandbox| {
        sandbox.metadata.deletion_timestamp.as_ref().map(seconds)
    }),
    (families::SANDBOX_STATUS_READY, |sandbox| is(sandbox, types::READY, "True")),
    (families::SANDBOX_STATUS_READY_TIME, |sandbox| since(sandbox, types::READY, "True")),
    (families::SANDBOX_STATUS_INPLACE_UPDATING, |sandbox| is(sandbox, types::INPLACE_UPDATE, "False")),
    (families::SANDBOX_STATUS_INPLACE_UPDATING_TIME, |sandbox| {
        since(sandbox, types::INPLACE_UPDATE, "False")
    }),
    (families::SANDBOX_STATUS_UNPAUSED, |sandbox| is(sandbox, types::SANDBOX_PAUSED, "False")),
    (families::SANDBOX_STATUS_UNPAUSED_TIME, |sandbox| since(sandbox, types::SANDBOX_PAUSED, "False")),
    (families::SANDBOX_STATUS_UNRESUMED, |sandbox| is(sandbox, types::SANDBOX_RESUMED, "False")),
    (families::SANDBOX_STATUS_UNRESUMED_TIME, |sandbox| since(sandbox, types::SANDBOX_RESUMED, "False")),
];

pub(super) fn encode(seen: &Seen, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let sandboxes = || seen.sandboxes.iter().map(|(sandbox, _)| sandbox.as_ref());
    gauge(encoder, &families::SANDBOX_INFO, sandboxes().map(|it| (info(it), 1.0)))?;
    if !seen.labels.is_empty() {
        let labelled = sandboxes().map(|it| {
            let labels: Vec<(String, String)> = named(it)
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .chain(seen.labels.of(it))
                .collect();
            (labels, 1.0)
        });
        gauge(encoder, &families::SANDBOX_LABELS, labelled)?;
    }
    let phases = sandboxes().map(|it| (with(it, "phase", &phase(it)), 1.0));
    gauge(encoder, &families::SANDBOX_STATUS_PHASE, phases)?;
    gauges(encoder, &GAUGES, &sandboxes())?;

    let abnormal = || sandboxes().filter_map(|it| Some((it, abnormality(it)?)));
    let values = abnormal().map(|(it, (kind, _))| (with(it, "type", kind), 1.0));
    gauge(encoder, &families::SANDBOX_STATUS_ABNORMAL, values)?;
    let times = abnormal().filter_map(|(it, (kind, since))| {
        Some((with(it, "type", kind), seconds(&since?.last_transition_time)))
    });
    gauge(encoder, &families::SANDBOX_STATUS_ABNORMAL_TIME, times)?;

    let all: Vec<RuntimeContainer> = runtime_containers(seen, &seen.containers).collect();
    let values = all.iter().map(|it| (it.labels.clone(), flag(it.is_abnormal)));
    gauge(encoder, &families::SANDBOX_RUNTIME_CONTAINER_ABNORMAL, values)?;
    let times = all.iter().filter_map(|it| Some((it.labels.clone(), it.since?)));
    gauge(encoder, &families::SANDBOX_RUNTIME_CONTAINER_ABNORMAL_TIME, times)
}

fn info(sandbox: &Sandbox) -> [Label; 5] {
    let [namespace, name] = named(sandbox);
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

fn condition<'a>(sandbox: &'a Sandbox, kind: &str) -> Option<&'a Condition> {
    conditions::find(&sandbox.status.as_ref()?.conditions, kind)
}

/// Whether a condition has that status; one that is missing has none.
#[allow(
    clippy::unnecessary_wraps,
    reason = "one of the functions of a table whose others may have nothing to say"
)]
fn is(sandbox: &Sandbox, kind: &str, status: &str) -> Option<f64> {
    Some(flag(condition(sandbox, kind).is_some_and(|condition| condition.status == status)))
}

/// Since when it has, if it has.
fn since(sandbox: &Sandbox, kind: &str, status: &str) -> Option<f64> {
    let condition = condition(sandbox, kind).filter(|condition| condition.status == status)?;
    Some(seconds(&condition.last_transition_time))
}

/// In what way the phase is ahead of its condition, and that condition, if it was written.
fn abnormality(sandbox: &Sandbox) -> Option<(&'static str, Option<&Condition>)> {
    let (kind, word) = match sandbox.status.as_ref()?.phase {
        SandboxPhase::Paused => (types::SANDBOX_PAUSED, "pause_incomplete"),
        SandboxPhase::Resuming => (types::SANDBOX_RESUMED, "resume_incomplete"),
        _ => return None,
    };
    let condition = condition(sandbox, kind);
    (condition.is_none_or(|condition| condition.status != "True")).then_some((word, condition))
}

struct RuntimeContainer {
    labels: [Label; 3],
    is_abnormal: bool,
    since: Option<f64>,
}

/// The injected containers of every pod that a sandbox has.
fn runtime_containers<'a>(
    seen: &'a Seen,
    remembered: &'a Containers,
) -> impl Iterator<Item = RuntimeContainer> + use<'a> {
    seen.sandboxes.iter().filter_map(|(sandbox, pod)| Some((sandbox, pod.as_ref()?))).flat_map(
        move |(sandbox, pod): (&Arc<Sandbox>, _)| {
            containers::injected(pod).map(move |status| RuntimeContainer {
                labels: with(sandbox.as_ref(), "container", &status.name),
                is_abnormal: containers::is_abnormal(status),
                since: remembered.since(pod, &status.name).map(unix),
            })
        },
    )
}
