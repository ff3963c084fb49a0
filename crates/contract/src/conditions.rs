//! Conditions of a Sandbox: names, reasons, and reading and setting them (`kubernetes.md` §1.9).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Condition types.
pub mod types {
    /// The pod is ready and the runtime initialised; on a Checkpoint: sandboxes can be made from it.
    pub const READY: &str = "Ready";
    /// Progress of a pause.
    pub const SANDBOX_PAUSED: &str = "SandboxPaused";
    /// Progress of a resume.
    pub const SANDBOX_RESUMED: &str = "SandboxResumed";
    /// Outcome of a re-initialisation.
    pub const RUNTIME_INITIALIZED: &str = "RuntimeInitialized";
    /// Progress of an in-place update.
    pub const INPLACE_UPDATE: &str = "InplaceUpdate";
    /// Progress of a replacing upgrade.
    pub const UPGRADING: &str = "Upgrading";
    /// Progress of a recycling.
    pub const RECYCLING: &str = "Recycling";
    /// A claim has ended; ours: a `SandboxUpdateOps` has upgraded everything, or why not yet.
    pub const COMPLETED: &str = "Completed";
    /// A `SandboxUpdateOps` could not upgrade some of its sandboxes; the message says which and why. Ours.
    pub const FAILED: &str = "Failed";
    /// A claim has reached its limit.
    pub const TIMED_OUT: &str = "TimedOut";
    /// A set has as many available sandboxes as it should. Ours, upstream writes no conditions of sets.
    pub const AVAILABLE: &str = "Available";
    /// On pods: their node keeps them asleep, or why it can't ([`crate::sleep`]). Ours.
    pub const HIBERNATED: &str = "mountlab.dev/Hibernated";
    /// All unclaimed sandboxes of a set are of its template of now. Ours.
    pub const UP_TO_DATE: &str = "UpToDate";
}

/// Condition reasons.
pub mod reasons {
    /// Ready was copied from the pod.
    pub const POD_READY: &str = "PodReady";
    /// A container is waiting; the message is the container's.
    pub const START_CONTAINER_FAILED: &str = "StartContainerFailed";
    /// The pod could not be made.
    pub const POD_CREATE_FAILED: &str = "PodCreateFailed";
    /// The pod is ready and its runtime has yet to be initialised again. Ours, upstream leaves the reason open.
    pub const RUNTIME_NOT_INITIALIZED: &str = "RuntimeNotInitialized";
    /// An in-place update is in flight.
    pub const INPLACE_UPDATING: &str = "InplaceUpdating";
    /// A replacing upgrade is in progress.
    pub const UPGRADING: &str = "Upgrading";
    /// Started, not done.
    pub const PENDING: &str = "Pending";
    /// The pod of a paused sandbox is gone.
    pub const STOP_PAUSE_SUCCEED: &str = "StopPauseSucceed";
    /// A pause was refused because of mounted storage.
    pub const STORAGE_NOT_HIBERNATABLE: &str = "StorageNotHibernatable";
    /// Snapshot pause: the image changed.
    pub const IMAGE_CHANGED: &str = "ImageChanged";
    /// Snapshot pause: being taken.
    pub const CHECKPOINT_CREATING: &str = "CheckpointCreating";
    /// Snapshot pause: taken.
    pub const CHECKPOINT_SUCCEEDED: &str = "CheckpointSucceeded";
    /// Snapshot pause, or upgrade: not taken.
    pub const CHECKPOINT_FAILED: &str = "CheckpointFailed";
    /// Upgrade: the API refuses the Checkpoint that was to be taken. Tried again when it doesn't any more.
    pub const CHECKPOINT_CREATE_FAILED: &str = "CheckpointCreateFailed";
    /// Snapshot pause: done.
    pub const SNAPSHOT_PAUSE_SUCCEED: &str = "SnapshotPauseSucceed";
    /// A resume began.
    pub const CREATE_POD: &str = "CreatePod";
    /// The new pod runs.
    pub const RESUME_POD: &str = "ResumePod";
    /// Done.
    pub const SUCCEEDED: &str = "Succeeded";
    /// Not done; the message says why.
    pub const FAILED: &str = "Failed";
    /// Upgrade step.
    pub const RESUMING: &str = "Resuming";
    /// Upgrade step.
    pub const RESUME_SUCCEED: &str = "ResumeSucceed";
    /// Upgrade step.
    pub const PRE_UPGRADE: &str = "PreUpgrade";
    /// Upgrade step.
    pub const PRE_UPGRADE_FAILED: &str = "PreUpgradeFailed";
    /// Upgrade step.
    pub const CHECKPOINTING: &str = "Checkpointing";
    /// Upgrade step.
    pub const UPGRADE_POD: &str = "UpgradePod";
    /// Upgrade step.
    pub const UPGRADE_POD_FAILED: &str = "UpgradePodFailed";
    /// Upgrade step.
    pub const POST_UPGRADE: &str = "PostUpgrade";
    /// Upgrade step.
    pub const POST_UPGRADE_FAILED: &str = "PostUpgradeFailed";
    /// Recycling step.
    pub const RECYCLING_STARTED: &str = "RecyclingStarted";
    /// Recycling step.
    pub const RECYCLING_COMPLETED: &str = "RecyclingCompleted";
    /// Recycling step.
    pub const RECYCLING_SUCCEEDED: &str = "RecyclingSucceeded";
    /// Recycling step.
    pub const RECYCLING_FAILED: &str = "RecyclingFailed";
    /// Recycling step.
    pub const RECYCLING_TIMEOUT: &str = "RecyclingTimeout";
    /// Recycling step.
    pub const RECYCLING_REJECTED: &str = "RecyclingRejected";
    /// Nobody can take a Checkpoint that asks for this, or of a pod on that node. Ours.
    pub const NOT_SUPPORTED: &str = "NotSupported";
    /// Sandboxes that were made from a deleted Checkpoint still need it. Ours.
    pub const IN_USE: &str = "InUse";
    /// A claim names no existing set.
    pub const SANDBOX_SET_NOT_FOUND: &str = "SandboxSetNotFound";
    /// A claim is complete.
    pub const ALL_REPLICAS_CLAIMED: &str = "AllReplicasClaimed";
    /// A claim reached its limit.
    pub const CLAIM_TIMEOUT_REACHED: &str = "ClaimTimeoutReached";
    /// A claim ended at its limit.
    pub const TIMEOUT_REACHED: &str = "TimeoutReached";
    /// A claim was given up: another sandbox would fail the same way. Ours.
    pub const CLAIM_FAILED: &str = "ClaimFailed";
    /// A claim asks for a feature that is switched off.
    pub const FEATURE_GATE_DISABLED: &str = "FeatureGateDisabled";
    /// A set has as many available sandboxes as it should. Ours.
    pub const ALL_REPLICAS_AVAILABLE: &str = "AllReplicasAvailable";
    /// A set's sandboxes are on their way. Ours.
    pub const CREATING_REPLICAS: &str = "CreatingReplicas";
    /// A sandbox of a set doesn't start; the message has its words. Ours.
    pub const SANDBOX_NOT_READY: &str = "SandboxNotReady";
    /// All sandboxes of a set are of its revision of now. Ours.
    pub const ALL_REPLICAS_UPDATED: &str = "AllReplicasUpdated";
    /// A set's sandboxes are being replaced. Ours.
    pub const ROLLING_UPDATE: &str = "RollingUpdate";
    /// A `SandboxUpdateOps` is at work. Ours.
    pub const UPDATING: &str = "Updating";
    /// A `SandboxUpdateOps` was told to start nothing new. Ours.
    pub const PAUSED: &str = "Paused";
    /// A `SandboxUpdateOps` waits for an earlier one of its namespace to end. Ours.
    pub const ANOTHER_OPERATION: &str = "AnotherOperation";
    /// A `SandboxUpdateOps` starts nothing new: as many sandboxes have failed as may be unavailable. Ours.
    pub const MAX_UNAVAILABLE_FAILED: &str = "MaxUnavailableFailed";
    /// Sandboxes of a `SandboxUpdateOps` were not upgraded. Ours.
    pub const UPGRADE_FAILED: &str = "UpgradeFailed";
    /// A `SandboxUpdateOps` can't be carried out as it is written. Ours.
    pub const INVALID_OPERATION: &str = "InvalidOperation";
    /// A set's template is missing or can't be used. Ours.
    pub const INVALID_TEMPLATE: &str = "InvalidTemplate";
}

/// Longest message of a condition in characters; longer ones are cut and get an ellipsis.
pub const MESSAGE_LIMIT: usize = 1024;

/// The condition of type `kind`.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition of type `kind` is there and True.
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

/// Sets the condition of type `kind`. Its `lastTransitionTime` moves to `now` only when the status changes; a long
/// message is cut. Returns whether anything but times changed.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    is_true: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let status = if is_true { "True" } else { "False" };
    let message = cut(message);
    let Some(existing) = conditions.iter_mut().find(|condition| condition.type_ == kind) else {
        conditions.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: Time(now),
            observed_generation: None,
        });
        return true;
    };
    let changed = existing.status != status || existing.reason != reason || existing.message != message;
    if existing.status != status {
        existing.last_transition_time = Time(now);
    }
    status.clone_into(&mut existing.status);
    reason.clone_into(&mut existing.reason);
    existing.message = message;
    changed
}

/// Removes the condition of type `kind`; whether there was one.
pub fn remove(conditions: &mut Vec<Condition>, kind: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.type_ != kind);
    conditions.len() != before
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_LIMIT) {
        None => message.to_owned(),
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}
