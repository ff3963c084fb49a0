//! Which containers of a pod run now: the main one, and the sidecars that mount for it.

use contract::names::containers::MOUNTING_CONTAINERS;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// The id of the main container, while it runs.
pub(super) fn main_container(pod: &Pod) -> Option<&str> {
    let main = pod.spec.as_ref()?.containers.first()?;
    running(pod.status.as_ref()?.container_statuses.as_deref()?, &main.name)
}

/// The ids of the sidecars that mount, separated by spaces; empty where there are none. Nothing while one doesn't run.
pub(super) fn mounting_containers(pod: &Pod) -> Option<String> {
    let containers = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let statuses = pod.status.as_ref().and_then(|status| status.init_container_statuses.as_deref());
    let ids = containers
        .iter()
        .filter(|container| MOUNTING_CONTAINERS.contains(&container.name.as_str()))
        .map(|container| running(statuses.unwrap_or_default(), &container.name));
    Some(ids.collect::<Option<Vec<_>>>()?.join(" "))
}

fn running<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a str> {
    let status = statuses.iter().find(|status| status.name == name)?;
    status.state.as_ref()?.running.as_ref()?;
    status.container_id.as_deref().filter(|id| !id.is_empty())
}
