//! Finalizers (`kubernetes.md` §2.3).

/// On a Sandbox that was paused at least once.
pub const SANDBOX: &str = "agents.kruise.io/sandbox";
/// On a `SandboxUpdateOps`.
pub const UPDATE_OPS: &str = "agents.kruise.io/sandboxupdateops-protection";
/// On a Checkpoint.
pub const CHECKPOINT: &str = "agents.kruise.io/checkpoint";
/// On a Commit.
pub const COMMIT: &str = "agents.kruise.io/commit";
