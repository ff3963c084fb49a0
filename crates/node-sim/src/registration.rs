//! The Node object.

use contract::names::labels as names;
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::node::Shared;

/// Resources that the node says it has: so much that no pod is turned away.
pub(crate) const RESOURCES: [(&str, &str); 4] =
    [("cpu", "64"), ("memory", "256Gi"), ("ephemeral-storage", "256Gi"), ("pods", "1000")];

/// Creates or refreshes the node's object.
pub(crate) async fn register(shared: &Shared) -> Result<(), kube::Error> {
    let api: Api<Node> = Api::all(shared.client.clone());
    match api.create(&PostParams::default(), &object(shared)).await {
        Ok(_) => {}
        Err(kube::Error::Api(error)) if error.code == 409 => {}
        Err(error) => return Err(error),
    }
    let patch = Patch::Merge(json!({"status": status(shared)}));
    api.patch_status(&shared.node_name, &PatchParams::default(), &patch).await.map(drop)
}

fn object(shared: &Shared) -> Node {
    let labels = [
        ("kubernetes.io/hostname", shared.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        (names::NODE_CHECKPOINTS, names::KEEPS_FILESYSTEM),
        (names::NODE_HIBERNATION, names::KEEPS_MEMORY),
    ];
    Node {
        metadata: ObjectMeta {
            name: Some(shared.node_name.clone()),
            labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            provider_id: Some(format!("mountlab://{}", shared.node_name)),
            ..NodeSpec::default()
        }),
        status: None,
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn status(shared: &Shared) -> NodeStatus {
    let now = Time(shared.clock.now());
    let condition = |kind: &str, status: &str, reason: &str, message: &str| NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(now.clone()),
        last_transition_time: Some(now.clone()),
    };
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    let resources =
        || Some(RESOURCES.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into());
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", shared.network.bridge_address().to_string()),
            address("Hostname", shared.node_name.clone()),
        ]),
        allocatable: resources(),
        capacity: resources(),
        conditions: Some(vec![
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "memory is not watched"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "disks are not watched"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "processes are not counted"),
            condition("Ready", "True", "KubeletReady", "node is posting ready status"),
        ]),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            operating_system: "linux".to_owned(),
            container_runtime_version: format!("mountlab://{}", env!("CARGO_PKG_VERSION")),
            kubelet_version: "v1.33.0".to_owned(),
            kube_proxy_version: String::new(),
            os_image: "mountlab".to_owned(),
            kernel_version: rustix::system::uname().release().to_string_lossy().into_owned(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}
