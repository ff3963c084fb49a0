//! Labels (`kubernetes.md` §2.1).

/// SandboxSet name, on Sandboxes.
pub const SANDBOX_POOL: &str = "agents.kruise.io/sandbox-pool";
/// Template name, on Sandboxes: that of the templateRef, otherwise the set's.
pub const SANDBOX_TEMPLATE: &str = "agents.kruise.io/sandbox-template";
/// `"false"` in the pool, `"true"` once claimed or cloned.
pub const SANDBOX_CLAIMED: &str = "agents.kruise.io/sandbox-claimed";
/// SandboxSet revision that a Sandbox was built from.
pub const TEMPLATE_HASH: &str = "agents.kruise.io/template-hash";
/// SandboxClaim name, on Sandboxes.
pub const CLAIM_NAME: &str = "agents.kruise.io/claim-name";
/// Authoritative sandbox id when it differs from the legacy form.
pub const SANDBOX_ID: &str = "agents.kruise.io/sandbox-id";
/// `"true"` when a sandbox is kept after a failed claim.
pub const RESERVED_FAILED_SANDBOX: &str = "agents.kruise.io/reserved-failed-sandbox";
/// `SandboxUpdateOps` handling the Sandbox.
pub const UPDATE_OPS: &str = "agents.kruise.io/update-ops";
/// `"true"` after a failed upgrade.
pub const UPGRADE_FAILED: &str = "agents.kruise.io/upgrade-failed";
/// Sandbox name, on Sandbox, pod and Checkpoint.
pub const SANDBOX_NAME: &str = "agents.kruise.io/sandbox-name";
/// `"true"` or `"false"`, on Sandbox and pod.
pub const ALLOW_INTERNET_ACCESS: &str = "agents.kruise.io/allow-internet-access";
/// User or claim UID, on pods through the template's labels.
pub const OWNER: &str = "agents.kruise.io/owner";
/// Who made a pod: label and annotation.
pub const CREATED_BY: &str = "agents.kruise.io/created-by";
/// Value of [`CREATED_BY`] on pods of Sandboxes.
pub const CREATED_BY_SANDBOX: &str = "sandbox";
/// Another value of [`CREATED_BY`] that exists.
pub const CREATED_BY_EXTERNAL: &str = "external";
/// `status.updateRevision` of the Sandbox at the pod's creation or last in-place update.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Contents of a Checkpoint, sorted and joined by `-`.
pub const CHECKPOINT_TYPE: &str = "agents.kruise.io/checkpoint-type";
/// On Nodes: what the node can keep in a Checkpoint; [`KEEPS_FILESYSTEM`]. Ours.
pub const NODE_CHECKPOINTS: &str = "mountlab.dev/checkpoints";
/// Value of [`NODE_CHECKPOINTS`] of a node that keeps the file system of a container.
pub const KEEPS_FILESYSTEM: &str = "filesystem";
/// On Nodes: what the node keeps of a pod that it is told to put to sleep; [`KEEPS_MEMORY`]. Ours.
pub const NODE_HIBERNATION: &str = "mountlab.dev/hibernation";
/// Value of [`NODE_HIBERNATION`] of a node that keeps processes with their memory, and all files.
pub const KEEPS_MEMORY: &str = "memory";
/// Identifier of a Checkpoint, from when a node is at it.
pub const CHECKPOINT_ID: &str = "agents.kruise.io/checkpoint-id";
