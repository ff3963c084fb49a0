//! The components of the system as pods of the cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::names::SYSTEM_NAMESPACE;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};
use lab::Component;
use tokio::time::Instant;

use crate::install::unavailable;

/// How often it is looked what a component does.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// A component's Deployment, the selector of its pods and the container that works (`kind/manifests/`).
fn place(component: Component) -> (&'static str, &'static str, &'static str) {
    match component {
        Component::Controller => {
            ("sandbox-controller-manager", "control-plane=sandbox-controller-manager", "manager")
        }
        Component::Manager => ("sandbox-manager", "component=sandbox-manager", "sandbox-manager"),
    }
}

fn pods(client: &Client) -> Api<Pod> {
    Api::namespaced(client.clone(), SYSTEM_NAMESPACE)
}

/// The ids of a component's containers that run, with the names of their pods. Not of those that are on their way out: what another
/// lab has put in their place is the component.
pub(crate) async fn running(client: &Client, component: Component) -> kube::Result<Vec<(String, String)>> {
    let (_, selector, container) = place(component);
    let found = pods(client).list(&ListParams::default().labels(selector)).await?;
    let id = |pod: &Pod| {
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
        let status = statuses.iter().find(|status| status.name == container)?;
        status.state.as_ref()?.running.as_ref()?;
        status.container_id.clone()
    };
    Ok(found.items.iter().filter_map(|pod| id(pod).map(|id| (pod.name_any(), id))).collect())
}

/// Waits until as many containers of a component as were killed are ready, and none of them is one of those. Gives up only when
/// it is dropped: what it waits for, somebody else has a deadline for.
pub(crate) async fn until_back(client: &Client, component: Component, killed: &BTreeSet<String>) {
    let (_, selector, container) = place(component);
    loop {
        let is_new = |pod: &Pod| {
            let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            let found = statuses.into_iter().flatten().find(|status| status.name == container);
            found.is_some_and(|status| {
                status.ready && status.container_id.as_ref().is_some_and(|id| !killed.contains(id))
            })
        };
        match pods(client).list(&ListParams::default().labels(selector)).await {
            Ok(found) if found.items.iter().filter(|pod| is_new(pod)).count() >= killed.len() => return,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, %component, "cannot look whether a component is back"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Puts new pods in the place of those whose container was killed: a second death would be answered with a pause that
/// grows. Returns once they are gone and the Deployment is available.
pub(crate) async fn renew(
    client: &Client,
    component: Component,
    killed: &BTreeSet<String>,
    end: Instant,
) -> Result<(), String> {
    let (name, selector, _) = place(component);
    let said = |error: kube::Error| lab::chain(&error);
    let quickly = DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() };
    for pod in killed {
        match pods(client).delete(pod, &quickly).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(said(error)),
            Ok(_) => {}
        }
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    loop {
        let there = pods(client).list(&ListParams::default().labels(selector)).await.map_err(said)?;
        let old = there.items.iter().map(ResourceExt::name_any).find(|pod| killed.contains(pod));
        let last = match old {
            Some(pod) => Some(format!("pod {pod} is still there")),
            None => unavailable(&deployments.get(name).await.map_err(said)?),
        };
        let Some(last) = last else { return Ok(()) };
        if Instant::now() >= end {
            return Err(format!("{component} is not back: {last}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
