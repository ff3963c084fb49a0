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
/// A pod could not be created (Warning).
pub const POD_CREATE_FAILED: &str = "PodCreateFailed";
/// A pod of the sandbox's name belongs to somebody else (Warning).
pub const POD_OWNER_MISMATCH: &str = "PodOwnerMismatch";
/// Two injected items clash with the pod's own (Warning).
pub const INJECTION_CLASH: &str = "InjectionClash";
/// A changed template can't reach the running pod (Warning).
pub const INPLACE_UPDATE_FORBIDDEN: &str = "InplaceUpdateForbidden";
/// The sandbox is being deleted and its pod goes.
pub const SANDBOX_TERMINATING: &str = "SandboxTerminating";
/// The runtime was initialised again and the mounts are back.
pub const RUNTIME_INITIALIZED: &str = "RuntimeInitialized";
/// Re-initialisation failed (Warning).
pub const RUNTIME_INITIALIZE_FAILED: &str = "RuntimeInitializeFailed";
/// A pause was refused because of mounted storage (Warning).
pub const STORAGE_NOT_HIBERNATABLE: &str = "StorageNotHibernatable";
/// Mounts of a checkpoint's source are not restored (Warning).
pub const STORAGE_NOT_RESTORED: &str = "StorageNotRestored";
/// A deadline has passed and the sandbox is deleted.
pub const SANDBOX_SHUTDOWN: &str = "SandboxShutdown";

/// Reason of the event that a sandbox entered `phase`: `Sandbox` and the phase.
pub fn phase_reason(phase: &str) -> String {
    format!("Sandbox{phase}")
}
