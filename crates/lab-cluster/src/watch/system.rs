//! What the manager says about this lab's sandboxes: lines of its log, where the cluster lets them be read.
//!
//! Requests are not taken from there: the door has them.

use std::collections::BTreeSet;

use contract::names::SYSTEM_NAMESPACE;
use journal::{Draft, Journal, source};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::follow::Follow;
use super::pods::Seen;
use super::{logs, resource};
use crate::names::Names;

/// Our own components, as the manifests label them.
const COMPONENTS: &str = "app.kubernetes.io/part-of=mountlab";

/// Reads the components' logs.
pub(super) struct System {
    log: Log,
    /// Instances of containers whose logs are read.
    known: BTreeSet<String>,
}

#[derive(Clone)]
struct Log {
    client: Client,
    names: Names,
    journal: Journal,
    begun: Instant,
}

impl System {
    pub(super) fn new(client: Client, names: Names, journal: Journal) -> Self {
        Self { log: Log { client, names, journal, begun: Instant::now() }, known: BTreeSet::new() }
    }

    /// Reads until the task is dropped; at once done where the pods can't be listed.
    pub(super) async fn run(mut self) {
        let kind = resource(("", "v1", "Pod", "pods"));
        let (pods, mut seen) = mpsc::unbounded_channel();
        let follow = Follow {
            api: Api::namespaced_with(self.log.client.clone(), SYSTEM_NAMESPACE, &kind),
            kind,
            selector: Some(COMPONENTS.to_owned()),
            names: self.log.names.clone(),
            journal: None,
            pods: Some(pods),
        };
        let mut tasks = JoinSet::new();
        let (ready, listed) = oneshot::channel();
        tasks.spawn(follow.run(ready));
        if let Ok(Err(error)) = listed.await {
            tracing::debug!(%error, "the system's pods can't be listed: its part of the journal is missing");
            return;
        }
        while let Some(seen) = seen.recv().await {
            for (instance, container) in running(&seen) {
                if self.known.insert(instance) {
                    tasks.spawn(self.log.clone().read(seen.name.clone(), container));
                }
            }
        }
    }
}

/// Instances that run, and the names of their containers.
fn running(seen: &Seen) -> Vec<(String, String)> {
    let statuses = seen.object.pointer("/status/containerStatuses").and_then(Value::as_array);
    let runs = |status: &&Value| status["state"]["running"].is_object();
    let words = |status: &Value, field: &str| status[field].as_str().map(str::to_owned);
    let found = statuses.into_iter().flatten().filter(runs);
    found.filter_map(|status| words(status, "containerID").zip(words(status, "name"))).collect()
}

impl Log {
    async fn read(self, pod: String, container: String) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
        let since = i64::try_from(self.begun.elapsed().as_secs()).unwrap_or(i64::MAX).saturating_add(1);
        logs::follow(&api, &pod, &container, Some(since), |line| self.take(&pod, &container, line)).await;
    }

    fn take(&self, pod: &str, container: &str, line: &str) {
        let Some(draft) = Draft::from_log_line(line) else {
            self.journal.inspect(&format!("log of {SYSTEM_NAMESPACE}/{pod}, container {container}"), line);
            return;
        };
        if let Some(draft) = ours(&self.names, draft) {
            self.journal.add(draft);
        }
    }
}

/// What a component says of this lab and nobody else does, in the file's words.
fn ours(names: &Names, draft: Draft) -> Option<Draft> {
    let is_request = draft.kind.contains(' ');
    let is_about_us =
        draft.subject.contains(names.prefix()) || draft.body.to_string().contains(names.prefix());
    (draft.source == source::E2B && !is_request && is_about_us).then(|| Draft {
        subject: names.plain(&draft.subject),
        body: names.plain_value(draft.body),
        ..draft
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::a_claim(
        "e2b",
        "claimed",
        "Sandbox/mltag12-default/pool-abcde",
        Some("Sandbox/default/pool-abcde")
    )]
    #[case::somebody_elses("e2b", "claimed", "Sandbox/mlother-default/pool-abcde", None)]
    #[case::a_request("e2b", "POST /sandboxes", "mltag12-default--pool-abcde", None)]
    #[case::another_source("kubernetes", "ADDED", "Sandbox/mltag12-default/pool-abcde", None)]
    fn lines_of_the_manager(
        #[case] source: &str,
        #[case] kind: &str,
        #[case] subject: &str,
        #[case] expected: Option<&str>,
    ) {
        let draft = Draft {
            source: source.to_owned(),
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            body: json!({}),
        };
        let taken = ours(&Names::new("mltag12"), draft).map(|draft| draft.subject);
        assert_eq!(taken.as_deref(), expected);
    }
}
