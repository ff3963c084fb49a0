//! What to do about a Checkpoint, as a pure function of what was read.

use std::time::Duration;

use contract::checkpoint::{self, Order, Outcome, phases};
use contract::conditions::{self, reasons, types};
use contract::crd::{Checkpoint, CheckpointStatus, Sandbox, SandboxPhase};
use contract::errors::Code;
use contract::names::{annotations, finalizers};
use contract::state;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

/// How long a node may take from the order to its answer (`kubernetes.md` §6.1).
pub(crate) const NODE_LIMIT: Duration = Duration::from_mins(1);

/// What the node of a pod can do about checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePower {
    /// Keep a container's file system.
    Keeps,
    /// Nothing; why, for the user.
    Lacks(String),
    /// There is no such node any more.
    Gone,
}

/// Everything that a decision is made of.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The Checkpoint.
    pub checkpoint: &'a Checkpoint,
    /// The Sandbox that it names, if there is one.
    pub sandbox: Option<&'a Sandbox>,
    /// That Sandbox's pod.
    pub pod: Option<&'a Pod>,
    /// What the node can do: the pod's, or the one that has the order.
    pub node: NodePower,
    /// Names of the sandboxes that were made from it and exist.
    pub clones: Vec<String>,
    /// The time.
    pub now: Timestamp,
}

/// What is to be done besides the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointAction {
    /// Make the companion template and write the order, before the status.
    Order(Order),
    /// Tell the node that nobody needs the files.
    Release,
    /// Take the finalizer away: the node that had the files is gone.
    DropFinalizer,
    /// Delete the Checkpoint: it was kept as long as it said.
    Delete,
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckpointDecision {
    /// What to do, before the status is written.
    pub action: Option<CheckpointAction>,
    /// The status, where it is to be written.
    pub status: Option<CheckpointStatus>,
    /// When to look again.
    pub wake_at: Option<Timestamp>,
}

/// What to do about a Checkpoint.
pub fn decide(seen: &Observed<'_>) -> CheckpointDecision {
    if seen.checkpoint.metadata.deletion_timestamp.is_some() {
        return let_go(seen);
    }
    match checkpoint::phase(seen.checkpoint) {
        phases::CREATING => follow(seen),
        phases::SUCCEEDED | phases::FAILED => expire(seen),
        _ => begin(seen),
    }
}

/// A new one: it fails at once, or a node gets the order.
fn begin(seen: &Observed<'_>) -> CheckpointDecision {
    match order(seen) {
        Ok(order) => {
            let message =
                format!("node {} keeps the file system of container {}", order.node, order.container);
            let mut next = status(seen, phases::CREATING, reasons::CHECKPOINT_CREATING, &message);
            next.checkpoint_id = Some(checkpoint::id(seen.checkpoint));
            CheckpointDecision {
                action: Some(CheckpointAction::Order(order)),
                status: Some(next),
                wake_at: Some(clock::later(seen.now, NODE_LIMIT)),
            }
        }
        Err((reason, message)) => finish(seen, phases::FAILED, reason, &message),
    }
}

/// The order for the node, or why there can't be one: a reason and a sentence.
fn order(seen: &Observed<'_>) -> Result<Order, (&'static str, String)> {
    let failed = |message: String| (reasons::CHECKPOINT_FAILED, message);
    let name = checkpoint::source(&seen.checkpoint.spec).map_err(|problem| {
        let reason = match problem.code() {
            Code::NotSupported => reasons::NOT_SUPPORTED,
            _ => reasons::CHECKPOINT_FAILED,
        };
        (reason, problem.message().to_owned())
    })?;
    let sandbox = seen
        .sandbox
        .filter(|sandbox| sandbox.metadata.deletion_timestamp.is_none())
        .ok_or_else(|| failed(format!("there is no Sandbox {name} in this namespace")))?;
    let phase = sandbox.status.as_ref().map_or(&SandboxPhase::None, |status| &status.phase);
    let runs = *phase == SandboxPhase::Running && (!sandbox.spec.paused || state::pause_is_refused(sandbox));
    if !(runs && state::is_ready(sandbox) || waits_for(seen.checkpoint, sandbox)) {
        let phase = if phase.as_str().is_empty() { "new" } else { phase.as_str() };
        let asked = if sandbox.spec.paused { ", to be paused" } else { "" };
        let message = format!(
            "only a sandbox that runs and is ready can be checkpointed, Sandbox {name} is {phase}{asked}: wake it up or \
             wait, then create another Checkpoint"
        );
        return Err(failed(message));
    }
    let pod = seen.pod.filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let pod = pod.ok_or_else(|| failed(format!("Sandbox {name} has no pod")))?;
    let spec = pod.spec.as_ref();
    let container = spec.and_then(|spec| spec.containers.first()).map(|container| container.name.clone());
    let node = spec.and_then(|spec| spec.node_name.clone());
    let (Some(container), Some(node), Some(pod_uid)) = (container, node, pod.uid()) else {
        return Err(failed(format!("the pod of Sandbox {name} is on no node yet")));
    };
    match &seen.node {
        NodePower::Keeps => Ok(Order { node, pod_uid, container }),
        NodePower::Lacks(why) => Err((reasons::NOT_SUPPORTED, why.clone())),
        NodePower::Gone => Err(failed(format!("node {node} of Sandbox {name} is gone"))),
    }
}

/// Whether the Sandbox is being upgraded and waits for this very Checkpoint.
fn waits_for(checkpoint: &Checkpoint, sandbox: &Sandbox) -> bool {
    let status = sandbox.status.as_ref();
    let told = status.and_then(|status| conditions::find(&status.conditions, types::UPGRADING));
    checkpoint::upgraded(checkpoint) == sandbox.metadata.uid.as_deref()
        && told.is_some_and(|told| told.reason == reasons::CHECKPOINTING)
}

/// A node is at it.
fn follow(seen: &Observed<'_>) -> CheckpointDecision {
    match Outcome::of(seen.checkpoint) {
        Some(Outcome::Kept { files, bytes }) => {
            let message = format!("{files} files, folders and links with {bytes} bytes are kept");
            return finish(seen, phases::SUCCEEDED, reasons::CHECKPOINT_SUCCEEDED, &message);
        }
        Some(Outcome::Failed { reason }) => {
            return finish(seen, phases::FAILED, reasons::CHECKPOINT_FAILED, &reason);
        }
        None => {}
    }
    let node = Order::of(seen.checkpoint).map(|order| order.node).unwrap_or_default();
    let until = clock::later(since(seen.checkpoint).unwrap_or(seen.now), NODE_LIMIT);
    if seen.node == NodePower::Gone || seen.now >= until {
        let message = if seen.node == NodePower::Gone {
            format!("node {node} is gone")
        } else {
            format!("node {node} has not answered within {NODE_LIMIT:?}: look whether it is well")
        };
        return finish(seen, phases::FAILED, reasons::CHECKPOINT_FAILED, &message);
    }
    CheckpointDecision { wake_at: Some(until), ..CheckpointDecision::default() }
}

/// When the phase that it is in was entered.
fn since(checkpoint: &Checkpoint) -> Option<Timestamp> {
    let conditions = &checkpoint.status.as_ref()?.conditions;
    conditions::find(conditions, types::READY).map(|condition| condition.last_transition_time.0)
}

/// It has ended, and is kept for as long as it says.
fn expire(seen: &Observed<'_>) -> CheckpointDecision {
    let kept = seen.checkpoint.spec.ttl_after_finished.as_deref().and_then(checkpoint::ttl);
    let ended = seen.checkpoint.status.as_ref().and_then(|status| status.completion_time.as_ref());
    let (Some(kept), Some(ended)) = (kept, ended) else { return CheckpointDecision::default() };
    let until = clock::later(ended.0, kept);
    if seen.now >= until {
        return CheckpointDecision {
            action: Some(CheckpointAction::Delete),
            ..CheckpointDecision::default()
        };
    }
    CheckpointDecision { wake_at: Some(until), ..CheckpointDecision::default() }
}

/// It is being deleted: the files go once no sandbox can need them any more.
fn let_go(seen: &Observed<'_>) -> CheckpointDecision {
    if !seen.checkpoint.finalizers().iter().any(|finalizer| finalizer == finalizers::CHECKPOINT) {
        return CheckpointDecision::default();
    }
    if !seen.clones.is_empty() {
        let message = format!(
            "its files are kept until the sandboxes that were made from it are gone: {}",
            seen.clones.join(", ")
        );
        let next = status(seen, phases::TERMINATING, reasons::IN_USE, &message);
        return CheckpointDecision { status: changed(seen, next), ..CheckpointDecision::default() };
    }
    let next = status(seen, phases::TERMINATING, phases::TERMINATING, "its node removes the files");
    if seen.node == NodePower::Gone {
        let action = Some(CheckpointAction::DropFinalizer);
        return CheckpointDecision { action, ..CheckpointDecision::default() };
    }
    let released = seen.checkpoint.annotations().contains_key(annotations::CHECKPOINT_RELEASED);
    CheckpointDecision {
        action: (!released).then_some(CheckpointAction::Release),
        status: changed(seen, next),
        // whether the node is still there
        wake_at: Some(clock::later(seen.now, NODE_LIMIT)),
    }
}

/// The status of one that can't be begun for another reason than what was seen.
pub(super) fn refusal(seen: &Observed<'_>, message: &str) -> CheckpointStatus {
    let mut next = status(seen, phases::FAILED, reasons::CHECKPOINT_FAILED, message);
    next.completion_time = Some(Time(seen.now));
    next
}

fn finish(seen: &Observed<'_>, phase: &str, reason: &str, message: &str) -> CheckpointDecision {
    let mut next = status(seen, phase, reason, message);
    next.completion_time = Some(Time(seen.now));
    let kept = seen.checkpoint.spec.ttl_after_finished.as_deref().and_then(checkpoint::ttl);
    let wake_at = kept.map(|kept| clock::later(seen.now, kept));
    CheckpointDecision { action: None, status: Some(next), wake_at }
}

/// The status with another phase.
fn status(seen: &Observed<'_>, phase: &str, reason: &str, message: &str) -> CheckpointStatus {
    let mut status = seen.checkpoint.status.clone().unwrap_or_default();
    status.observed_generation = seen.checkpoint.metadata.generation;
    status.phase = Some(phase.to_owned());
    status.message = Some(message.to_owned());
    let is_ready = phase == phases::SUCCEEDED;
    conditions::set(&mut status.conditions, types::READY, is_ready, reason, message, seen.now);
    status
}

/// The status, unless it is what there is.
fn changed(seen: &Observed<'_>, next: CheckpointStatus) -> Option<CheckpointStatus> {
    (seen.checkpoint.status.as_ref() != Some(&next)).then_some(next)
}
