//! Every name that two components must spell alike (`kubernetes.md` §2).

pub mod annotations;
pub mod containers;
pub mod csi_agent;
pub mod drivers;
pub mod events;
pub mod finalizers;
pub mod labels;
pub mod metadata_keys;

/// Namespace of the system: Secrets for mounts live here, always (`kubernetes.md` §5.5).
pub const SYSTEM_NAMESPACE: &str = "sandbox-system";

/// Name of the ConfigMap with the injection templates.
pub const INJECTION_CONFIG: &str = "sandbox-injection-config";

/// Runtime name of the environment tools (envd).
pub const RUNTIME_AGENT: &str = "agent-runtime";

/// Runtime name of the CSI sidecars.
pub const RUNTIME_CSI: &str = "csi";

/// Port of envd and, without TLS, of the storage API in a pod.
pub const ENVD_PORT: u16 = 49983;

/// Level of envd that crate `agent-runtime` really implements (`e2b-api.md` §17); reported as `envdVersion`.
pub const ENVD_VERSION: &str = "0.6.4";

/// Port of the runtime when it serves HTTPS.
pub const RUNTIME_TLS_PORT: u16 = 49984;

/// Server name in the runtime's certificate.
pub const RUNTIME_SERVER_NAME: &str = "agentruntime.sandbox.agents.kruise.io";

/// Owner annotation's value while a set removes a member.
pub const SCALE_DOWN_OWNER: &str = "__manager_scale_down";

/// Directory with the runtime's files in the main container.
pub const ENVD_DIRECTORY: &str = "/mnt/envd";

/// Shared mount directory in the main container and in the CSI sidecars.
pub const MOUNT_ROOT: &str = "/run/csi/mount-root";

/// Directory with one folder per CSI driver, each with `csi.sock`.
pub const SOCKET_DIRECTORY: &str = "/var/run/csi/sockets";

/// Path of the storage API in the sandbox.
pub const STORAGE_API_PATH: &str = "/v1/storage/mounts";

/// Path of the storage API's counterpart for rollback: takes `driver` and `unpublishRequest` (ours, not upstream's).
pub const STORAGE_UNMOUNT_API_PATH: &str = "/v1/storage/unmounts";

/// Volume context key that carries the pod's UID.
pub const POD_UID_CONTEXT_KEY: &str = "csi.storage.k8s.io/pod.uid";

/// Prefix of internal keys.
pub const INTERNAL_PREFIX: &str = "agents.kruise.io/";

/// Prefix of the extension keys of the E2B interface.
pub const E2B_PREFIX: &str = "e2b.agents.kruise.io/";

/// Label selector of the unclaimed sandboxes of set `name` (`kubernetes.md` §1.2).
pub fn pool_selector(name: &str) -> String {
    format!("{}=false,{}={name}", labels::SANDBOX_CLAIMED, labels::SANDBOX_POOL)
}

/// The sandbox id that holds unless label `sandbox-id` says otherwise: `<namespace>--<name>`.
pub fn legacy_sandbox_id(namespace: &str, name: &str) -> String {
    format!("{namespace}--{name}")
}

/// Whether a key of a pod template stays with the pod and is not copied to a generated Sandbox
/// (`kubernetes.md` §2.2).
pub fn is_internal_key(key: &str) -> bool {
    key.starts_with(INTERNAL_PREFIX)
        && key != annotations::CLEANUP_ENABLED
        && key != annotations::CLEANUP_RETAIN_ON_FAILURE
}
