//! Pods: when their containers start and exit, and whose logs are to be read.

use std::collections::BTreeMap;

use journal::{Journal, source};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::logs::{Log, Unread};
use super::mounts::Hint;
use crate::names::Names;

/// A pod as a watch event shows it, with the cluster's names.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) object: Value,
    /// Whether it is gone.
    pub(super) gone: bool,
}

/// Follows the pods of a lab.
pub(super) struct Pods {
    client: Client,
    names: Names,
    journal: Journal,
    unread: Unread,
    hints: mpsc::UnboundedSender<Hint>,
    /// By namespace and name: what was told of each container.
    known: BTreeMap<(String, String), BTreeMap<String, Told>>,
}

/// What was told of a container.
#[derive(Debug, Default)]
struct Told {
    /// Ids of the instances whose start was told; the last one runs, unless its exit was told.
    started: Option<String>,
    exited: Option<String>,
}

/// The lists of containers' statuses.
const STATUSES: [&str; 2] = ["initContainerStatuses", "containerStatuses"];

impl Pods {
    pub(super) fn new(
        client: Client,
        names: Names,
        journal: Journal,
        unread: Unread,
        hints: mpsc::UnboundedSender<Hint>,
    ) -> Self {
        Self { client, names, journal, unread, hints, known: BTreeMap::new() }
    }

    /// Works until nobody tells of pods any more.
    pub(super) async fn run(mut self, mut seen: mpsc::UnboundedReceiver<Seen>) {
        while let Some(seen) = seen.recv().await {
            self.look(&seen);
        }
    }

    fn look(&mut self, seen: &Seen) {
        let main = seen.object.pointer("/spec/containers/0/name").and_then(Value::as_str).unwrap_or_default();
        let key = (seen.namespace.clone(), seen.name.clone());
        let mut told = self.known.remove(&key).unwrap_or_default();
        let statuses = STATUSES.iter().filter_map(|list| seen.object["status"][list].as_array()).flatten();
        for status in statuses {
            let Some(container) = status["name"].as_str() else { continue };
            self.look_at(seen, container, status, told.entry(container.to_owned()).or_default());
        }
        self.hint(seen, main, told.get(main));
        if seen.gone {
            for (container, told) in told {
                if told.started.is_some() && told.started != told.exited {
                    self.record(seen, &container, "exited", json!({"exitCode": null, "signal": null}));
                }
            }
            self.unread.pod_is_gone(&seen.namespace, &seen.name);
        } else {
            self.known.insert(key, told);
        }
    }

    /// Has the mounts taken for gone that the main container saw, once it runs no more.
    fn hint(&self, seen: &Seen, main: &str, told: Option<&Told>) {
        let (namespace, pod) = (seen.namespace.clone(), seen.name.clone());
        let runs = told.is_some_and(|told| told.started.is_some() && told.started != told.exited);
        if seen.gone || !runs {
            // The lab is going down when nobody listens.
            let _ = self.hints.send(Hint::Gone { namespace, pod, container: main.to_owned() });
        }
    }

    fn look_at(&self, seen: &Seen, container: &str, status: &Value, told: &mut Told) {
        // The instance before this one first: it may have come and gone between two events.
        for state in [&status["lastState"], &status["state"]] {
            if let Some(id) = instance(state.get("terminated"), None) {
                if told.exited.as_deref() != Some(id) {
                    self.started(seen, container, status, id, told);
                    told.exited = Some(id.to_owned());
                    let terminated = &state["terminated"];
                    let body =
                        json!({"exitCode": terminated["exitCode"], "signal": terminated.get("signal")});
                    self.record(seen, container, "exited", body);
                }
            } else if let Some(id) = instance(state.get("running"), status["containerID"].as_str()) {
                self.started(seen, container, status, id, told);
            }
        }
    }

    fn started(&self, seen: &Seen, container: &str, status: &Value, id: &str, told: &mut Told) {
        if told.started.as_deref() == Some(id) || told.exited.as_deref() == Some(id) {
            return;
        }
        told.started = Some(id.to_owned());
        let body = json!({
            "image": status["imageID"],
            "containerID": id,
            "restartCount": status["restartCount"],
        });
        self.record(seen, container, "started", body);
        let log = Log {
            client: self.client.clone(),
            names: self.names.clone(),
            journal: self.journal.clone(),
            namespace: seen.namespace.clone(),
            pod: seen.name.clone(),
            container: container.to_owned(),
            hints: self.hints.clone(),
        };
        self.unread.read(log);
    }

    fn record(&self, seen: &Seen, container: &str, kind: &str, body: Value) {
        let subject = format!("Pod/{}/{}/{container}", seen.namespace, seen.name);
        self.journal.record(source::PROCESS, kind, &self.names.plain(&subject), self.names.plain_value(body));
    }
}

/// The id of the instance that a state is about.
fn instance<'a>(state: Option<&'a Value>, running: Option<&'a str>) -> Option<&'a str> {
    let state = state.filter(|state| state.is_object())?;
    state["containerID"].as_str().or(running).filter(|id| !id.is_empty())
}
