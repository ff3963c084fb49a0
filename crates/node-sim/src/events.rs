//! Core events, as kubelet and scheduler write them. They are written in order, by a task of their own, so that no
//! pod waits for its diary; a repeated event raises its count.

use std::collections::HashMap;

use clock::SharedClock;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::mpsc;

/// Whether an event is bad news.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EventType {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

/// Who reports an event.
pub(crate) const KUBELET: &str = "kubelet";
/// Who reports that a pod got its node.
pub(crate) const SCHEDULER: &str = "default-scheduler";

/// Writes events.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    queue: mpsc::UnboundedSender<Event>,
    clock: SharedClock,
    node: String,
}

impl Events {
    /// Starts the writing task, which ends with the last clone.
    pub(crate) fn start(client: Client, clock: SharedClock, node: String) -> Self {
        let (queue, events) = mpsc::unbounded_channel();
        tokio::spawn(write(client, events));
        Self { queue, clock, node }
    }

    /// An event of a pod's container.
    pub(crate) fn container(
        &self,
        pod: &Pod,
        container: &str,
        init: bool,
        kind: EventType,
        reason: &str,
        message: String,
    ) {
        let list = if init { "initContainers" } else { "containers" };
        self.record(pod, Some(format!("spec.{list}{{{container}}}")), KUBELET, kind, reason, message);
    }

    /// An event of a pod.
    pub(crate) fn pod(&self, pod: &Pod, reporter: &str, kind: EventType, reason: &str, message: String) {
        self.record(pod, None, reporter, kind, reason, message);
    }

    fn record(
        &self,
        pod: &Pod,
        field_path: Option<String>,
        reporter: &str,
        kind: EventType,
        reason: &str,
        message: String,
    ) {
        let now = Time(self.clock.now());
        let namespace = pod.namespace().unwrap_or_default();
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}.", pod.name_any())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod.name_any()),
                namespace: Some(namespace),
                uid: pod.uid(),
                field_path,
                ..ObjectReference::default()
            },
            type_: Some(if kind == EventType::Normal { "Normal" } else { "Warning" }.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            source: Some(EventSource {
                component: Some(reporter.to_owned()),
                host: (reporter == KUBELET).then(|| self.node.clone()),
            }),
            reporting_component: Some(reporter.to_owned()),
            ..Event::default()
        };
        // The writer is gone only when the node is.
        let _ = self.queue.send(event);
    }
}

/// What makes two events the same.
type Key = (Option<String>, Option<String>, Option<String>, Option<String>);

fn key(event: &Event) -> Key {
    let object = &event.involved_object;
    (object.uid.clone(), object.field_path.clone(), event.reason.clone(), event.message.clone())
}

/// How many different events are remembered for counting.
const REMEMBERED: usize = 4096;

async fn write(client: Client, mut events: mpsc::UnboundedReceiver<Event>) {
    let mut seen: HashMap<Key, (String, i32)> = HashMap::new();
    while let Some(event) = events.recv().await {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let key = key(&event);
        if let Some((name, count)) = seen.get_mut(&key) {
            *count += 1;
            let patch = json!({"count": *count, "lastTimestamp": event.last_timestamp});
            if api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.is_ok() {
                continue;
            }
        }
        match api.create(&PostParams::default(), &event).await {
            Ok(created) => {
                if seen.len() >= REMEMBERED {
                    seen.clear();
                }
                seen.insert(key, (created.name_any(), 1));
            }
            Err(error) => tracing::debug!(%error, reason = event.reason, "event not written"),
        }
    }
}
