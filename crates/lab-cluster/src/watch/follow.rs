//! One kind in one namespace: listed once, then watched without a gap.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::names::annotations;
use futures::StreamExt as _;
use journal::{Journal, source};
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::pods::Seen;
use crate::names::Names;

/// Pause before another attempt when the API server refused or was gone.
const PAUSE: Duration = Duration::from_millis(500);
/// Fields in which objects hold tokens of sandboxes.
const TOKENS: [&str; 2] = [annotations::RUNTIME_ACCESS_TOKEN, annotations::ENVD_ACCESS_TOKEN];

pub(super) struct Follow {
    pub(super) api: Api<DynamicObject>,
    pub(super) kind: ApiResource,
    pub(super) selector: Option<String>,
    pub(super) names: Names,
    /// The journal, if it is told.
    pub(super) journal: Option<Journal>,
    /// Who is told of pods.
    pub(super) pods: Option<mpsc::UnboundedSender<Seen>>,
}

/// What was told of each object, by namespace and name.
type Known = BTreeMap<(String, String), DynamicObject>;

impl Follow {
    /// Follows until the task is dropped. A kind that the cluster doesn't have is not followed; `ready` is told of the
    /// first listing.
    pub(super) async fn run(self, ready: oneshot::Sender<kube::Result<()>>) {
        let mut known = Known::new();
        let mut version = match self.list(&mut known).await {
            Ok(version) => version,
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let _ = ready.send(Ok(()));
                return;
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        // Whoever started this may have given up.
        let _ = ready.send(Ok(()));
        loop {
            if let Err(error) = self.watch(&mut known, &mut version).await {
                tracing::debug!(kind = self.kind.kind, %error, "a watch broke off");
                tokio::time::sleep(PAUSE).await;
                match self.list(&mut known).await {
                    Ok(listed) => version = listed,
                    Err(error) => tracing::debug!(kind = self.kind.kind, %error, "a listing failed"),
                }
            }
        }
    }

    /// Lists, and tells what is new since the last time.
    async fn list(&self, known: &mut Known) -> kube::Result<String> {
        let mut parameters = ListParams::default();
        parameters.label_selector.clone_from(&self.selector);
        let listed = self.api.list(&parameters).await?;
        let mut gone = std::mem::take(known);
        for object in listed.items {
            let key = key(&object);
            let kind = match gone.remove(&key) {
                None => Some("ADDED"),
                Some(before) if before.resource_version() == object.resource_version() => None,
                Some(_) => Some("MODIFIED"),
            };
            if let Some(kind) = kind {
                self.tell(kind, &object);
            }
            known.insert(key, object);
        }
        for object in gone.into_values() {
            self.tell("DELETED", &object);
        }
        Ok(listed.metadata.resource_version.unwrap_or_default())
    }

    /// Watches until the server ends the watch. After an error nothing is known about what was missed.
    async fn watch(&self, known: &mut Known, version: &mut String) -> kube::Result<()> {
        let parameters = WatchParams { label_selector: self.selector.clone(), ..WatchParams::default() };
        let mut events = self.api.watch(&parameters, version).await?.boxed();
        while let Some(event) = events.next().await {
            let (kind, object) = match event? {
                WatchEvent::Added(object) => ("ADDED", object),
                WatchEvent::Modified(object) => ("MODIFIED", object),
                WatchEvent::Deleted(object) => ("DELETED", object),
                WatchEvent::Bookmark(bookmark) => {
                    version.clone_from(&bookmark.metadata.resource_version);
                    continue;
                }
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            };
            if let Some(seen) = object.resource_version() {
                *version = seen;
            }
            self.tell(kind, &object);
            if kind == "DELETED" {
                known.remove(&key(&object));
            } else {
                known.insert(key(&object), object);
            }
        }
        Ok(())
    }

    fn tell(&self, kind: &str, object: &DynamicObject) {
        if let Some(journal) = &self.journal {
            self.record(journal, kind, object);
        }
        if let (Some(pods), Some(namespace)) = (&self.pods, object.namespace()) {
            let object = serde_json::to_value(object).unwrap_or_default();
            let seen = Seen { namespace, name: object_name(&object), object, gone: kind == "DELETED" };
            // The lab is going down when nobody listens.
            let _ = pods.send(seen);
        }
    }

    fn record(&self, journal: &Journal, kind: &str, object: &DynamicObject) {
        let mut body = serde_json::to_value(object).unwrap_or_default();
        body["apiVersion"] = self.kind.api_version.clone().into();
        body["kind"] = self.kind.kind.clone().into();
        if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        conceal_tokens(journal, object);
        let subject = match object.namespace() {
            Some(namespace) => format!("{}/{namespace}/{}", self.kind.kind, object.name_any()),
            None => format!("{}/{}", self.kind.kind, object.name_any()),
        };
        let body = self.names.plain_value(body);
        journal.record(source::KUBERNETES, kind, &self.names.plain(&subject), body);
    }
}

fn object_name(object: &Value) -> String {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn key(object: &DynamicObject) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Tokens of sandboxes stand in annotations; the journal shows none.
fn conceal_tokens(journal: &Journal, object: &DynamicObject) {
    for name in TOKENS {
        if let Some(token) = object.annotations().get(name) {
            journal.conceal(token);
        }
    }
    let request = object.annotations().get(annotations::INIT_RUNTIME_REQUEST);
    let request: Option<Value> = request.and_then(|text| serde_json::from_str(text).ok());
    if let Some(token) = request.as_ref().and_then(|request| request["accessToken"].as_str()) {
        journal.conceal(token);
    }
}
