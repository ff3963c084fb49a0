//! Extension keys in the metadata of a create request (`e2b-api.md` §6.1, `storage.md` §1).

/// Name of one PersistentVolume (old protocol).
pub const CSI_VOLUME_NAME: &str = "e2b.agents.kruise.io/csi-volume-name";
/// Mount path of that volume (old protocol).
pub const CSI_MOUNT_POINT: &str = "e2b.agents.kruise.io/csi-mount-point";
/// Sub path of that volume (old protocol).
pub const CSI_SUBPATH: &str = "e2b.agents.kruise.io/csi-subpath";
/// JSON array of mounts (new protocol).
pub const CSI_VOLUME_CONFIG: &str = "e2b.agents.kruise.io/csi-volume-config";
/// Limit of the claim in seconds.
pub const CLAIM_TIMEOUT_SECONDS: &str = "e2b.agents.kruise.io/claim-timeout-seconds";
/// Limit of readiness in seconds.
pub const WAIT_READY_TIMEOUT_SECONDS: &str = "e2b.agents.kruise.io/wait-ready-timeout-seconds";
/// CPU request of the first container.
pub const CPU_REQUEST: &str = "e2b.agents.kruise.io/cpu-request";
/// CPU limit of the first container.
pub const CPU_LIMIT: &str = "e2b.agents.kruise.io/cpu-limit";
/// Image of the first container.
pub const IMAGE: &str = "e2b.agents.kruise.io/image";
/// No envd initialisation and no access token.
pub const SKIP_INIT_RUNTIME: &str = "e2b.agents.kruise.io/skip-init-runtime";
/// How long a failed sandbox is kept.
pub const RESERVE_FAILED_SANDBOX_FOR: &str = "e2b.agents.kruise.io/reserve-failed-sandbox-for";
/// Old form of keeping a failed sandbox for ever.
pub const RESERVE_FAILED_SANDBOX: &str = "e2b.agents.kruise.io/reserve-failed-sandbox";
/// How long a paused sandbox is kept.
pub const RESERVE_PAUSED_SANDBOX_DURATION: &str = "e2b.agents.kruise.io/reserve-paused-sandbox-duration";
/// Whether a sandbox may be built when the pool is empty.
pub const CREATE_ON_NO_STOCK: &str = "e2b.agents.kruise.io/create-on-no-stock";
/// No deadline at all.
pub const NEVER_TIMEOUT: &str = "e2b.agents.kruise.io/never-timeout";
/// Adds `sandbox-ip` to the returned metadata.
pub const RETURN_SANDBOX_IP: &str = "e2b.agents.kruise.io/return-sandbox-ip";
/// Name of a clone.
pub const SANDBOX_NAME: &str = "e2b.agents.kruise.io/sandbox-name";
/// Name prefix of a clone.
pub const SANDBOX_GENERATE_NAME: &str = "e2b.agents.kruise.io/sandbox-generate-name";
/// Prefix of metadata entries that become labels.
pub const LABEL_PREFIX: &str = "label:";

/// Every known extension key.
pub const ALL: &[&str] = &[
    CSI_VOLUME_NAME,
    CSI_MOUNT_POINT,
    CSI_SUBPATH,
    CSI_VOLUME_CONFIG,
    CLAIM_TIMEOUT_SECONDS,
    WAIT_READY_TIMEOUT_SECONDS,
    CPU_REQUEST,
    CPU_LIMIT,
    IMAGE,
    SKIP_INIT_RUNTIME,
    RESERVE_FAILED_SANDBOX_FOR,
    RESERVE_FAILED_SANDBOX,
    RESERVE_PAUSED_SANDBOX_DURATION,
    CREATE_ON_NO_STOCK,
    NEVER_TIMEOUT,
    RETURN_SANDBOX_IP,
    SANDBOX_NAME,
    SANDBOX_GENERATE_NAME,
];
