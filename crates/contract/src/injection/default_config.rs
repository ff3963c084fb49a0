//! The ConfigMap as the installer ships it (`kubernetes.md` §4.6, `storage.md` §5).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::names::containers::{
    AGENT_RUNTIME, CSI_SIDECAR, ENVD_VOLUME, FUSE_VOLUME, MOUNT_ROOT_VOLUME, SOCKETS_VOLUME,
};
use crate::names::{
    ENVD_DIRECTORY, INJECTION_CONFIG, MOUNT_ROOT, RUNTIME_AGENT, RUNTIME_CSI, SOCKET_DIRECTORY,
    SYSTEM_NAMESPACE,
};

/// Image of sidecar `agent-runtime`, of this build.
pub const AGENT_RUNTIME_IMAGE: &str = concat!("mountlab/agent-runtime:v", env!("CARGO_PKG_VERSION"));
/// Image of the CSI sidecar: the tag that the product document recommends.
pub const CSI_AGENT_IMAGE: &str = "acs/csi-agent:v1.35.4-3c34d4a-aliyun";

/// ConfigMap `sandbox-injection-config` in the system namespace with keys `agent-runtime` and `csi`.
pub fn default_config_map() -> ConfigMap {
    default_config_map_for(SYSTEM_NAMESPACE)
}

/// The same in another namespace, for a controller whose `POD_NAMESPACE` is not the system namespace.
pub fn default_config_map_for(namespace: &str) -> ConfigMap {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(INJECTION_CONFIG.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([
            (RUNTIME_AGENT.to_owned(), pretty(&agent_runtime())),
            (RUNTIME_CSI.to_owned(), pretty(&csi())),
        ])),
        ..ConfigMap::default()
    }
}

/// The ConfigMap as the installer's file `30-sandbox-injection-config.yaml`.
///
/// # Errors
/// When it can't be written as YAML, which would be a defect here.
pub fn manifest() -> Result<String, serde_saphyr::ser::Error> {
    let mut object = serde_json::to_value(default_config_map()).unwrap_or_default();
    object["apiVersion"] = "v1".into();
    object["kind"] = "ConfigMap".into();
    let body = serde_saphyr::to_string(&object)?;
    Ok(format!("# Generated from crates/contract/src/injection; edit it on the cluster, not here.\n{body}"))
}

fn agent_runtime() -> Value {
    let envd_mount = json!({"name": ENVD_VOLUME, "mountPath": ENVD_DIRECTORY});
    json!({
        "mainContainer": {
            "name": "main",
            "env": [
                {"name": "ENVD_DIR", "value": ENVD_DIRECTORY},
                {"name": "GODEBUG", "value": "multipathtcp=0"},
                pod_uid(),
            ],
            "volumeMounts": [envd_mount],
            "lifecycle": {
                "postStart": {"exec": {"command": ["bash", format!("{ENVD_DIRECTORY}/envd-run.sh")]}},
            },
        },
        "csiSidecar": [{
            "name": AGENT_RUNTIME,
            "image": AGENT_RUNTIME_IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["mountlab", "agent-runtime", "install", "--dir", ENVD_DIRECTORY],
            "restartPolicy": "Always",
            "env": [{"name": "ENVD_DIR", "value": ENVD_DIRECTORY}],
            "volumeMounts": [envd_mount],
            "startupProbe": startup_probe(&["mountlab", "agent-runtime", "wait", "--dir", ENVD_DIRECTORY]),
        }],
        "volume": [{"name": ENVD_VOLUME, "emptyDir": {}}],
    })
}

/// What an OSS mount shows as owner unless the volume says otherwise: the SDKs' default user, because a user who has
/// just mounted a volume can write to it (`kubernetes.md` R50). ossfs itself would show root.
const OSS_DEFAULTS: &str = "uid=1000,gid=1000";

fn csi() -> Value {
    let sockets_mount = json!({"name": SOCKETS_VOLUME, "mountPath": SOCKET_DIRECTORY});
    let mount_root = |propagation: &str| json!({"name": MOUNT_ROOT_VOLUME, "mountPath": MOUNT_ROOT, "mountPropagation": propagation});
    json!({
        "mainContainer": {
            "name": "main",
            "volumeMounts": [mount_root("HostToContainer"), sockets_mount],
        },
        "csiSidecar": [{
            "name": CSI_SIDECAR,
            "image": CSI_AGENT_IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": [
                "mountlab", "csi-node", "serve", "--socket-dir", SOCKET_DIRECTORY, "--oss-defaults", OSS_DEFAULTS,
            ],
            "restartPolicy": "Always",
            "securityContext": {"privileged": true},
            "env": [pod_uid()],
            "volumeMounts": [
                mount_root("Bidirectional"),
                sockets_mount,
                {"name": FUSE_VOLUME, "mountPath": "/dev/fuse"},
            ],
            "startupProbe": startup_probe(&["mountlab", "csi-node", "wait", "--socket-dir", SOCKET_DIRECTORY]),
        }],
        "volume": [
            {"name": MOUNT_ROOT_VOLUME, "emptyDir": {}},
            {"name": SOCKETS_VOLUME, "emptyDir": {}},
            {"name": FUSE_VOLUME, "hostPath": {"path": "/dev/fuse", "type": "CharDevice"}},
        ],
    })
}

fn pod_uid() -> Value {
    json!({"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}})
}

/// The command blocks until the sidecar is ready, so that the first probe succeeds and no period is waited for.
fn startup_probe(command: &[&str]) -> Value {
    json!({"exec": {"command": command}, "timeoutSeconds": 10, "periodSeconds": 1})
}
