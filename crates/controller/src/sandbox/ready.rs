//! Condition Ready from the pod (`kubernetes.md` §1.9).

use contract::conditions::{self, reasons, types};
use contract::crd::SandboxStatus;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateWaiting, Pod, PodStatus};

/// The pod's phase, Pending when it has none yet.
pub(super) fn pod_phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Copies the pod's Ready. Not ready with a waiting container is told apart, with the container's message.
pub(super) fn sync(status: &mut SandboxStatus, pod: &Pod, now: Timestamp) {
    let Some(pod_status) = &pod.status else { return };
    let found = pod_status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let is_ready = found.is_some_and(|condition| condition.status == "True");
    let (reason, message) = match waiting(pod_status) {
        Some(waiting) if !is_ready => (reasons::START_CONTAINER_FAILED, waiting.message.clone()),
        _ => (reasons::POD_READY, found.and_then(|condition| condition.message.clone())),
    };
    let message = message.unwrap_or_default();
    conditions::set(&mut status.conditions, types::READY, is_ready, reason, &message, now);
}

fn waiting(status: &PodStatus) -> Option<&ContainerStateWaiting> {
    let mut containers =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    containers.find_map(|container| container.state.as_ref()?.waiting.as_ref())
}
