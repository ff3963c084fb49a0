//! Kubernetes events that the manager writes about sandboxes.

use contract::crd::Sandbox;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Resource as _, ResourceExt as _};

use crate::manager::Manager;
use crate::sandboxes;

/// Who reports.
const COMPONENT: &str = "sandbox-manager";

impl Manager {
    /// Announces a fact about a sandbox. What the event is about has happened already, so a write that fails is only
    /// logged.
    pub(crate) async fn announce(&self, sandbox: &Sandbox, reason: &str, message: String) {
        let namespace = sandbox.namespace().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.shared.options.client.clone(), &namespace);
        let event = event(sandbox, namespace, reason, message, self.now());
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            tracing::warn!(%error, sandbox = %sandboxes::key(sandbox), reason, "cannot write an event");
        }
    }
}

fn event(sandbox: &Sandbox, namespace: String, reason: &str, message: String, now: Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", sandbox.name_any(), uuid::Uuid::new_v4().simple())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: sandbox.object_ref(&()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        type_: Some("Normal".to_owned()),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(COMPONENT.to_owned()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        event_time: Some(MicroTime(now)),
        action: Some("Create".to_owned()),
        count: Some(1),
        ..Event::default()
    }
}
