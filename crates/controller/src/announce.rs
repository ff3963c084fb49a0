//! Kubernetes events. They are written in the background: no reconcile waits for one, and none fails because of one.
//!
//! The same event about the same object is one Event object whose count grows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use clock::SharedClock;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::api::{ObjectMeta, Patch};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;

use crate::api::{FIELD_MANAGER, has_code, parameters, patch_parameters};

/// Events remembered for counting; the map starts over beyond that.
const REMEMBERED: usize = 4096;

/// Whether an event is a fact or a worry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A fact.
    Normal,
    /// A worry.
    Warning,
}

/// What an event says, without the object it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Fact or worry.
    pub severity: Severity,
    /// Stable reason, see `contract::names::events`.
    pub reason: String,
    /// A sentence, without secrets.
    pub message: String,
}

impl Announcement {
    pub(crate) fn normal(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Normal, reason: reason.into(), message: message.into() }
    }

    pub(crate) fn warning(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, reason: reason.into(), message: message.into() }
    }
}

/// The sending end: hands events to a task of its own.
#[derive(Debug)]
pub(crate) struct Announcer {
    sender: mpsc::UnboundedSender<(ObjectReference, Announcement)>,
}

impl Announcer {
    pub(crate) fn new(client: Client, clock: SharedClock) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(write_all(client, clock, receiver));
        Self { sender }
    }

    /// Announces something about `object`.
    pub(crate) fn send<K: Resource<DynamicType = ()>>(&self, object: &K, announcement: Announcement) {
        // the task only ends with the runtime, and then nobody reads events
        let _ = self.sender.send((object.object_ref(&()), announcement));
    }
}

type Counts = HashMap<(String, String, String), (String, i32)>;

async fn write_all(
    client: Client,
    clock: SharedClock,
    mut receiver: mpsc::UnboundedReceiver<(ObjectReference, Announcement)>,
) {
    let mut counts = Counts::new();
    while let Some((object, announcement)) = receiver.recv().await {
        if counts.len() > REMEMBERED {
            counts.clear();
        }
        if let Err(error) = write(&client, clock.now(), &mut counts, &object, &announcement).await {
            let (kind, name) = (object.kind.unwrap_or_default(), object.name.unwrap_or_default());
            tracing::warn!(%error, kind, name, reason = announcement.reason, "cannot write an event");
        }
    }
}

async fn write(
    client: &Client,
    now: Timestamp,
    counts: &mut Counts,
    object: &ObjectReference,
    announcement: &Announcement,
) -> kube::Result<()> {
    let namespace = object.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let identity =
        (object.uid.clone().unwrap_or_default(), announcement.reason.clone(), announcement.message.clone());
    let slot = match counts.entry(identity) {
        Entry::Occupied(slot) => {
            let (name, count) = slot.into_mut();
            *count += 1;
            let patch = json!({"count": *count, "lastTimestamp": Time(now)});
            match events.patch(name, &patch_parameters(), &Patch::Merge(&patch)).await {
                Ok(_) => return Ok(()),
                Err(error) if has_code(&error, 404) => {}
                Err(error) => return Err(error),
            }
            *count = 1;
            None
        }
        Entry::Vacant(slot) => Some(slot),
    };
    let created = events.create(&parameters(), &event(&namespace, now, object, announcement)).await?;
    if let Some(slot) = slot {
        slot.insert((created.name_any(), 1));
    }
    Ok(())
}

fn event(namespace: &str, now: Timestamp, object: &ObjectReference, announcement: &Announcement) -> Event {
    let severity = match announcement.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta {
            name: Some(format!(
                "{}.{}",
                object.name.as_deref().unwrap_or("object"),
                uuid::Uuid::new_v4().simple()
            )),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: object.clone(),
        reason: Some(announcement.reason.clone()),
        message: Some(announcement.message.clone()),
        type_: Some(severity.to_owned()),
        source: Some(EventSource { component: Some(FIELD_MANAGER.to_owned()), host: None }),
        reporting_component: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(FIELD_MANAGER.to_owned()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        event_time: Some(MicroTime(now)),
        action: Some("Reconcile".to_owned()),
        count: Some(1),
        ..Event::default()
    }
}
