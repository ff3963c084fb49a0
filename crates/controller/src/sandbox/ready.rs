//! Condition Ready from the pod (`kubernetes.md` §1.9).

use contract::conditions::{self, reasons, types};
use contract::crd::SandboxStatus;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateWaiting, Pod, PodCondition, PodStatus};

/// The pod's phase, Pending when it has none yet.
pub(super) fn pod_phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether the pod says that it is ready.
pub(super) fn is_ready(pod: &Pod) -> bool {
    condition(pod).is_some_and(|condition| condition.status == "True")
}

fn condition(pod: &Pod) -> Option<&PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == "Ready")
}

/// Copies the pod's Ready. Not ready with a waiting container is told apart, with the container's message. `held` is
/// why a ready pod doesn't make a ready sandbox.
pub(super) fn sync(status: &mut SandboxStatus, pod: &Pod, held: Option<&str>, now: Timestamp) {
    let Some(pod_status) = &pod.status else { return };
    let found = condition(pod);
    let is_ready = is_ready(pod);
    let (reason, message) = match (held, waiting(pod_status)) {
        (Some(why), _) if is_ready => (reasons::RUNTIME_NOT_INITIALIZED, Some(why.to_owned())),
        (_, Some(waiting)) if !is_ready => (reasons::START_CONTAINER_FAILED, waiting.message.clone()),
        _ => (reasons::POD_READY, found.and_then(|condition| condition.message.clone())),
    };
    let is_ready = is_ready && held.is_none();
    let message = message.unwrap_or_default();
    conditions::set(&mut status.conditions, types::READY, is_ready, reason, &message, now);
}

/// An update is in flight: whatever the pod says may still be of the containers of before.
pub(super) fn hold_for_update(status: &mut SandboxStatus, missing: &str, now: Timestamp) {
    conditions::set(&mut status.conditions, types::READY, false, reasons::INPLACE_UPDATING, missing, now);
}

/// Waiting reasons of containers that nothing is wrong with.
const ORDINARY_WAITS: [&str; 2] = ["PodInitializing", "ContainerCreating"];

/// What keeps a container of a pod from starting, if anything does.
pub(super) fn obstacle(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    all_waiting(status).find_map(|(name, waiting)| {
        let reason = waiting.reason.as_deref().filter(|reason| !ORDINARY_WAITS.contains(reason))?;
        let message = waiting.message.as_deref().unwrap_or_default();
        Some(format!("container {name} does not start: {reason}: {message}"))
    })
}

/// Says what keeps the first pod of a sandbox from starting, as long as something does.
pub(super) fn explain_pending(status: &mut SandboxStatus, pod: &Pod, now: Timestamp) {
    match obstacle(pod) {
        Some(obstacle) => {
            let reason = reasons::START_CONTAINER_FAILED;
            conditions::set(&mut status.conditions, types::READY, false, reason, &obstacle, now);
        }
        None => status.conditions.retain(|condition| {
            condition.type_ != types::READY || condition.reason != reasons::START_CONTAINER_FAILED
        }),
    }
}

fn waiting(status: &PodStatus) -> Option<&ContainerStateWaiting> {
    all_waiting(status).next().map(|(_, waiting)| waiting)
}

/// The containers that wait, by name, in the order in which they start.
fn all_waiting(status: &PodStatus) -> impl Iterator<Item = (&str, &ContainerStateWaiting)> {
    let containers =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    containers
        .filter_map(|container| Some((container.name.as_str(), container.state.as_ref()?.waiting.as_ref()?)))
}
