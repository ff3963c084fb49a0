//! Containers and volumes of the injected runtimes (`kubernetes.md` §4.6, `storage.md` §5.2).

/// Sidecar that installs the runtime's files.
pub const AGENT_RUNTIME: &str = "agent-runtime";
/// Sidecar with the CSI node services.
pub const CSI_SIDECAR: &str = "csi-sidecar";
/// Second CSI sidecar of the product (mount proxy).
pub const CSI_AGENT_SIDECAR: &str = "csi-agent-sidecar";
/// Sidecars whose end is the end of what they mounted (`storage.md` §5.4).
pub const MOUNTING_CONTAINERS: &[&str] = &[CSI_SIDECAR, CSI_AGENT_SIDECAR];
/// Service mesh proxy, counted as a runtime container.
pub const ISTIO_PROXY: &str = "istio-proxy";
/// Containers that belong to the runtime and not to the user.
pub const RUNTIME_CONTAINERS: &[&str] = &[AGENT_RUNTIME, CSI_SIDECAR, CSI_AGENT_SIDECAR, ISTIO_PROXY];

/// Volume with the runtime's files.
pub const ENVD_VOLUME: &str = "envd-volume";
/// Volume below which the drivers mount.
pub const MOUNT_ROOT_VOLUME: &str = "mount-root";
/// Volume with the CSI sockets.
pub const SOCKETS_VOLUME: &str = "csi-sockets";
/// Volume with `/dev/fuse`.
pub const FUSE_VOLUME: &str = "fuse-device";
