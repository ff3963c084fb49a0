//! Reasons of Kubernetes events (`kubernetes.md` §3.6, §5, §7, §9.3).

/// A set created a sandbox.
pub const SANDBOX_CREATED: &str = "SandboxCreated";
/// A set could not create a sandbox (Warning).
pub const CREATE_SANDBOX_FAILED: &str = "CreateSandboxFailed";
/// A set removed a surplus sandbox.
pub const SANDBOX_SCALED_DOWN: &str = "SandboxScaledDown";
/// A set removed a dead member.
pub const FAILED_SANDBOX_DELETED: &str = "FailedSandboxDeleted";
/// A set replaces outdated sandboxes.
pub const ROLLING_UPDATE: &str = "RollingUpdate";
/// A set's template is missing or can't be used (Warning). Ours.
pub const INVALID_TEMPLATE: &str = "InvalidTemplate";
/// A pod could not be created (Warning).
pub const POD_CREATE_FAILED: &str = "PodCreateFailed";
/// A pod of the sandbox's name belongs to somebody else (Warning).
pub const POD_OWNER_MISMATCH: &str = "PodOwnerMismatch";
/// Two injected items clash with the pod's own (Warning).
pub const INJECTION_CLASH: &str = "InjectionClash";
/// A changed template can't reach the running pod (Warning).
pub const INPLACE_UPDATE_FORBIDDEN: &str = "InplaceUpdateForbidden";
/// A changed template was to reach the running pod, and did not (Warning).
pub const INPLACE_UPDATE_FAILED: &str = "InplaceUpdateFailed";
/// A replacing upgrade has made its new pod, and it is ready.
pub const UPGRADE_POD_REPLACED: &str = "UpgradePodReplaced";
/// The new pod of a replacing upgrade does not start (Warning).
pub const UPGRADE_POD_FAILED: &str = "UpgradePodFailed";
/// A paused sandbox is woken for an upgrade.
pub const UPGRADE_RESUMING: &str = "UpgradeResuming";
/// A paused sandbox was woken for an upgrade.
pub const UPGRADE_RESUMED: &str = "UpgradeResumed";
/// The hook before a replacing upgrade failed (Warning).
pub const PRE_UPGRADE_FAILED: &str = "PreUpgradeFailed";
/// The hook after a replacing upgrade failed (Warning).
pub const POST_UPGRADE_FAILED: &str = "PostUpgradeFailed";
/// A replacing upgrade is done.
pub const UPGRADE_SUCCEEDED: &str = "UpgradeSucceeded";
/// A checkpoint has the files of the pod that an upgrade replaces.
pub const CHECKPOINT_SUCCEEDED: &str = "CheckpointSucceeded";
/// The files of the pod that an upgrade would replace can't be kept, so it stays.
pub const CHECKPOINT_FAILED: &str = "CheckpointFailed";
/// The sandbox is being deleted and its pod goes.
pub const SANDBOX_TERMINATING: &str = "SandboxTerminating";
/// The runtime was initialised again and the mounts are back.
pub const RUNTIME_INITIALIZED: &str = "RuntimeInitialized";
/// Re-initialisation failed (Warning).
pub const RUNTIME_INITIALIZE_FAILED: &str = "RuntimeInitializeFailed";
/// A pause was refused because of mounted storage (Warning).
pub const STORAGE_NOT_HIBERNATABLE: &str = "StorageNotHibernatable";
/// A paused sandbox lost its memory and its own files although its node keeps them (Warning). Ours.
pub const MEMORY_NOT_KEPT: &str = "MemoryNotKept";
/// A sandbox was created with an automatic pause that its storage will not allow. Ours.
pub const AUTOMATIC_PAUSE_UNAVAILABLE: &str = "AutomaticPauseUnavailable";
/// Mounts of a checkpoint's source are not restored (Warning).
pub const STORAGE_NOT_RESTORED: &str = "StorageNotRestored";
/// A claim took a sandbox.
pub const SANDBOX_CLAIMED: &str = "SandboxClaimed";
/// A claim has all it asked for.
pub const CLAIM_COMPLETED: &str = "ClaimCompleted";
/// A claim could not take a sandbox, or ended without all it asked for (Warning). Ours, upstream only has the next.
pub const CLAIM_FAILED: &str = "ClaimFailed";
/// A claim found its pool empty and may not have a sandbox made (Warning).
pub const NO_AVAILABLE_SANDBOXES: &str = "NoAvailableSandboxes";
/// A claim asks for something that is switched off (Warning).
pub const FEATURE_GATE_DISABLED: &str = "FeatureGateDisabled";
/// A claim is deleted some time after its completion.
pub const SANDBOX_CLAIM_TTL_DELETE: &str = "SandboxClaimTTLDelete";
/// A `SandboxUpdateOps` began with a sandbox.
pub const SANDBOX_UPGRADING: &str = "SandboxUpgrading";
/// A `SandboxUpdateOps` could not change a sandbox (Warning).
pub const PATCH_FAILED: &str = "PatchFailed";
/// A sandbox of a `SandboxUpdateOps` was not upgraded (Warning). Ours.
pub const SANDBOX_UPGRADE_FAILED: &str = "SandboxUpgradeFailed";
/// A `SandboxUpdateOps` went on, or ended (Warning when something failed).
pub const SANDBOX_UPDATE_OPS_PHASE_CHANGED: &str = "SandboxUpdateOpsPhaseChanged";
/// A sandbox is being cleaned for its pool.
pub const RECYCLING_STARTED: &str = "RecyclingStarted";
/// A sandbox is back in its pool.
pub const RECYCLING_SUCCEEDED: &str = "RecyclingSucceeded";
/// A sandbox can't go back to its pool, and is deleted (Warning).
pub const RECYCLING_FAILED: &str = "RecyclingFailed";
/// Cleaning a sandbox took too long (Warning).
pub const RECYCLING_TIMEOUT: &str = "RecyclingTimeout";
/// A sandbox is not recycled as it is, and runs on (Warning).
pub const RECYCLING_REJECTED: &str = "RecyclingRejected";
/// A deadline has passed and the sandbox is deleted.
pub const SANDBOX_SHUTDOWN: &str = "SandboxShutdown";

/// Reason of the event that a sandbox entered `phase`: `Sandbox` and the phase.
pub fn phase_reason(phase: &str) -> String {
    format!("Sandbox{phase}")
}
