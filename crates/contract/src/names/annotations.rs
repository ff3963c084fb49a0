//! Annotations (`kubernetes.md` §2.2).

/// Random UUID; a non-empty value means: not to be picked.
pub const LOCK: &str = "agents.kruise.io/lock";
/// User id, claim UID, or [`super::SCALE_DOWN_OWNER`].
pub const OWNER: &str = "agents.kruise.io/owner";
/// RFC 3339 instant until which a claim is under way; after it, the claim counts as abandoned and the sandbox is
/// deleted (`storage.md` §7.4). Taken off when the sandbox is handed out. Ours, not upstream's.
pub const CLAIM_UNACKNOWLEDGED_UNTIL: &str = "agents.kruise.io/claim-unacknowledged-until";
/// In the Sandbox's `status.podInfo.annotations`: id of the main container whose runtime was initialised last. Ours.
pub const INITIALIZED_CONTAINER: &str = "agents.kruise.io/initialized-container";
/// Beside it: ids of the CSI sidecars that mounted then, separated by a space. Ours.
pub const MOUNTING_CONTAINERS: &str = "agents.kruise.io/mounting-containers";
/// RFC 3339 time of the claim.
pub const CLAIM_TIMESTAMP: &str = "agents.kruise.io/claim-timestamp";
/// Checkpoint id that a clone was made from, on the Sandbox and its pod.
pub const RESTORE_FROM: &str = "agents.kruise.io/restore-from";
/// JSON `{envVars, accessToken, skipRefresh}` for a later re-initialisation.
pub const INIT_RUNTIME_REQUEST: &str = "agents.kruise.io/init-runtime-request";
/// Access token of the runtime.
pub const RUNTIME_ACCESS_TOKEN: &str = "agents.kruise.io/runtime-access-token";
/// Explicit address of the runtime.
pub const RUNTIME_URL: &str = "agents.kruise.io/runtime-url";
/// `49984` when the runtime serves HTTPS.
pub const RUNTIME_TLS_PORT: &str = "agents.kruise.io/runtime-tls-port";
/// Older equivalent of [`RUNTIME_ACCESS_TOKEN`], still read.
pub const ENVD_ACCESS_TOKEN: &str = "e2b.agents.kruise.io/envd-access-token";
/// Older equivalent of [`RUNTIME_URL`], still read.
pub const ENVD_URL: &str = "e2b.agents.kruise.io/envd-url";
/// The persisted mount list: JSON array of mount configurations.
pub const CSI_VOLUME_CONFIG: &str = "e2b.agents.kruise.io/csi-volume-config";
/// JSON with the label and annotation keys to undo when the sandbox is recycled.
pub const UPDATED_METADATA_IN_CLAIM: &str = "agents.kruise.io/updated-metadata-in-claim";
/// Integer text; `100` on sandboxes built without stock.
pub const SANDBOX_PRIORITY: &str = "agents.kruise.io/sandbox-priority";
/// Go duration or `forever`: how long a paused sandbox is kept.
pub const RESERVE_PAUSED_SANDBOX_DURATION: &str = "agents.kruise.io/reserve-paused-sandbox-duration";
/// Recycling switch.
pub const CLEANUP_ENABLED: &str = "agents.kruise.io/cleanup-enabled";
/// Recycling trigger.
pub const CLEANUP: &str = "agents.kruise.io/cleanup";
/// Retention after a failed recycling.
pub const CLEANUP_RETAIN_ON_FAILURE: &str = "agents.kruise.io/cleanup-retain-on-failure";
/// `"true"` on surplus materialised `SandboxTemplates`.
pub const CLEANUP_CANDIDATE: &str = "agents.kruise.io/cleanup-candidate";
/// `"true"`: wake a paused sandbox for an upgrade.
pub const UPGRADE_RESUME_TRIGGER: &str = "agents.kruise.io/upgrade-resume-trigger";
/// JSON state of an in-place update, on pods.
pub const INPLACE_UPDATE_STATE: &str = "agents.kruise.io/inplace-update-state";
/// Address of the member list service; the manager's business.
pub const MEMBERLIST_URL: &str = "agents.kruise.io/memberlist-url";
/// On Checkpoints: what the controller asks of a node ([`crate::checkpoint::Order`]). Ours.
pub const CHECKPOINT_ORDER: &str = "mountlab.dev/checkpoint-order";
/// On Checkpoints: what the node answers ([`crate::checkpoint::Outcome`]). Ours.
pub const CHECKPOINT_OUTCOME: &str = "mountlab.dev/checkpoint-outcome";
/// On Checkpoints that are being deleted, `"true"`: no sandbox needs the files any more. Ours.
pub const CHECKPOINT_RELEASED: &str = "mountlab.dev/checkpoint-released";
/// On pods, `"true"`: their node is to keep them asleep ([`crate::sleep`]). Ours.
pub const HIBERNATE: &str = "mountlab.dev/hibernate";
/// On pods: hash of what they were made of that the Sandbox doesn't hold itself, the injection configuration and a
/// referenced template; by it a pod that was kept asleep is known to be outdated. Ours.
pub const MADE_OF: &str = "mountlab.dev/made-of";
/// On Checkpoints: how many mounts the sandbox had, which are not part of it. Ours.
pub const SOURCE_MOUNTS: &str = "mountlab.dev/source-mounts";
/// On Checkpoints: RFC 3339 instant of the request for the snapshot, by which snapshots are listed; the creation
/// timestamp has whole seconds only. Ours.
pub const SNAPSHOT_TIME: &str = "mountlab.dev/snapshot-time";
/// On Checkpoints: the name that the user gave the snapshot. Ours.
pub const SNAPSHOT_NAME: &str = "mountlab.dev/snapshot-name";
/// Sandbox id, on Checkpoints.
pub const SANDBOX_ID: &str = "agents.kruise.io/sandbox-id";
/// Hash of what cannot change in place; written once.
pub const HASH_IMMUTABLE_PART: &str = "sandbox.agents.kruise.io/hash-immutable-part";
/// Deprecated ancestor of [`HASH_IMMUTABLE_PART`].
pub const HASH_WITHOUT_IMAGE_RESOURCES: &str = "sandbox.agents.kruise.io/hash-without-image-resources";
/// State of the identity feature; only removed here.
pub const TOKEN_STATUS: &str = "security.agents.kruise.io/token-status";

/// On network and traffic policies, a setting of the lab: what happens to a packet that they forbid. With [`DROP`] it
/// vanishes, as with most network plugins; without, it is refused at once.
pub const DENIED_TRAFFIC: &str = "mountlab.dev/denied-traffic";
/// Value of [`DENIED_TRAFFIC`].
pub const DROP: &str = "drop";

/// UID of the pod that a sandbox was used with before it was cleaned for its pool: on the Sandbox while it is cleaned, and in
/// its `status.podInfo.annotations`. Ours.
pub const RECYCLED_POD: &str = "agents.kruise.io/recycled-pod";
/// In the Sandbox's `status.podInfo.annotations`, `"true"`: everything is unmounted in the pod that it was used with. Ours.
pub const RECYCLED_POD_UNMOUNTED: &str = "agents.kruise.io/recycled-pod-unmounted";

/// Keys that are removed when a sandbox goes back to the pool (`kubernetes.md` §2.2).
pub const REMOVED_ON_RECYCLE: &[&str] = &[
    CLAIM_TIMESTAMP,
    LOCK,
    OWNER,
    INIT_RUNTIME_REQUEST,
    RUNTIME_ACCESS_TOKEN,
    RUNTIME_URL,
    CLEANUP,
    CLEANUP_RETAIN_ON_FAILURE,
    SANDBOX_PRIORITY,
    CSI_VOLUME_CONFIG,
    ENVD_ACCESS_TOKEN,
    ENVD_URL,
    TOKEN_STATUS,
];
