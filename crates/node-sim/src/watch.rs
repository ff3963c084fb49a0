//! Watching pods: new ones get this node and a worker, known ones get word of their changes.

use std::collections::HashSet;
use std::sync::Arc;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::events::{EventType, SCHEDULER};
use crate::node::{Entry, Shared};
use crate::pod::{self, PodContext, Update};

/// Follows every pod until the node ends.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let api: Api<Pod> = Api::all(shared.client.clone());
    loop {
        let mut listed = HashSet::new();
        let stream = watcher(api.clone(), watcher::Config::default());
        let mut stream = std::pin::pin!(stream);
        loop {
            match stream.try_next().await {
                Ok(Some(Event::Init)) => listed.clear(),
                Ok(Some(Event::InitApply(pod))) => {
                    listed.extend(pod.uid());
                    take(&shared, pod);
                }
                Ok(Some(Event::InitDone)) => forget_all_but(&shared, &listed),
                Ok(Some(Event::Apply(pod))) => take(&shared, pod),
                Ok(Some(Event::Delete(pod))) => gone(&shared, pod),
                Ok(None) => break,
                // The watcher itself waits and starts again.
                Err(error) => tracing::debug!(%error, "watching pods was interrupted"),
            }
        }
    }
}

fn take(shared: &Arc<Shared>, pod: Pod) {
    let assigned = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    if assigned.is_empty() {
        let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
        if pod.metadata.deletion_timestamp.is_none() && scheduler.unwrap_or(SCHEDULER) == SCHEDULER {
            tokio::spawn(assign(shared.clone(), pod));
        }
        return;
    }
    if assigned != shared.node_name {
        return;
    }
    let uid = pod.uid().unwrap_or_default();
    let pod = Arc::new(pod);
    let mut pods = shared.pods();
    if let Some(entry) = pods.get(&uid) {
        entry.context.observe(pod.clone());
        entry.updates.send_replace(Update { pod, gone: false });
        shared.policies.changed();
        return;
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_none() {
        return; // it ended under an earlier node
    }
    let context = Arc::new(PodContext::new(shared.clone(), pod.clone()));
    let (updates, changes) = tokio::sync::watch::channel(Update { pod, gone: false });
    pods.insert(uid.clone(), Entry { context: context.clone(), updates });
    drop(pods);
    let shared = shared.clone();
    tokio::spawn(async move {
        pod::run(context, changes).await;
        shared.pods().remove(&uid);
        shared.policies.changed();
    });
}

fn gone(shared: &Shared, pod: Pod) {
    let uid = pod.uid().unwrap_or_default();
    if let Some(entry) = shared.pods().get(&uid) {
        entry.updates.send_replace(Update { pod: Arc::new(pod), gone: true });
    }
}

/// After a new list: what isn't in it was deleted while nobody watched.
fn forget_all_but(shared: &Shared, listed: &HashSet<String>) {
    for (uid, entry) in shared.pods().iter() {
        if !listed.contains(uid) {
            entry.updates.send_modify(|update| update.gone = true);
        }
    }
}

/// Gives a pod this node.
async fn assign(shared: Arc<Shared>, pod: Pod) {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace, "uid": pod.uid()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": shared.node_name},
    });
    let api: Api<Pod> = Api::namespaced(shared.client.clone(), &namespace);
    let bound: Result<serde_json::Value, _> =
        api.create_subresource("binding", &name, &PostParams::default(), &binding).await;
    match bound {
        Ok(_) => {
            let message = format!("Successfully assigned {namespace}/{name} to {}", shared.node_name);
            shared.events.pod(&pod, SCHEDULER, EventType::Normal, "Scheduled", message);
        }
        // Somebody else was faster, or the pod is gone.
        Err(kube::Error::Api(error)) if error.code == 409 || error.code == 404 => {}
        Err(error) => {
            let message = format!("binding the pod to node {} failed: {error}", shared.node_name);
            shared.events.pod(&pod, SCHEDULER, EventType::Warning, "FailedScheduling", message);
        }
    }
}
