//! Changes of mount tables. No cluster tells of them, so a table is read when a CSI call was answered in its pod, and is
//! taken for empty once the container has ended.

use std::collections::{BTreeMap, BTreeSet};

use journal::{Journal, source};
use kube::Client;
use lab::MountLine;
use serde_json::json;
use tokio::sync::mpsc;

use crate::names::Names;
use crate::tables;

/// What may have changed a table, by the cluster's names.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Hint {
    /// Something happened in the pod.
    Look { namespace: String, pod: String },
    /// The pod's main container has ended, and its mounts with it.
    Gone { namespace: String, pod: String, container: String },
}

/// Compares the tables of one lab's pods.
pub(super) struct Mounts {
    pub(super) client: Client,
    pub(super) names: Names,
    pub(super) journal: Journal,
}

/// Storage in a pod's table, by mount point.
type Storage = BTreeMap<String, MountLine>;

impl Mounts {
    /// Works until nobody gives hints any more.
    pub(super) async fn run(self, mut hints: mpsc::UnboundedReceiver<Hint>) {
        let mut known: BTreeMap<(String, String), Storage> = BTreeMap::new();
        let mut batch = Vec::new();
        while hints.recv_many(&mut batch, 1000).await > 0 {
            // Many hints about one pod are one; what ended is told before anything is read that may take time.
            let hints: BTreeSet<Hint> = batch.drain(..).collect();
            let gone = |hint: &&Hint| matches!(hint, Hint::Gone { .. });
            for hint in hints.iter().filter(gone).chain(hints.iter().filter(|hint| !gone(hint))) {
                match hint {
                    Hint::Gone { namespace, pod, container } => {
                        let told = known.remove(&(namespace.clone(), pod.clone())).unwrap_or_default();
                        self.tell(namespace, pod, container, &told, &Storage::new());
                    }
                    Hint::Look { namespace, pod } => self.look(&mut known, namespace, pod).await,
                }
            }
        }
    }

    async fn look(&self, known: &mut BTreeMap<(String, String), Storage>, namespace: &str, pod: &str) {
        let table = match tables::read_without_links(&self.client, namespace, pod).await {
            Ok(table) => table,
            // A container that isn't up yet, or no more: its end is told by its status.
            Err(error) => return tracing::debug!(pod, %error, "a mount table was not read"),
        };
        let is_storage =
            |line: &MountLine| line.file_system.starts_with("fuse") || line.file_system.starts_with("nfs");
        let container = table.container.clone();
        let now: Storage =
            table.lines.into_iter().filter(is_storage).map(|line| (line.mount_point.clone(), line)).collect();
        let told = known.entry((namespace.to_owned(), pod.to_owned())).or_default();
        self.tell(namespace, pod, &container, told, &now);
        *told = now;
    }

    fn tell(&self, namespace: &str, pod: &str, container: &str, told: &Storage, now: &Storage) {
        for (_, line) in
            told.iter().filter(|(point, line)| now.get(*point).map(|now| now.id) != Some(line.id))
        {
            self.record("unmounted", namespace, pod, container, line);
        }
        for (_, line) in
            now.iter().filter(|(point, line)| told.get(*point).map(|told| told.id) != Some(line.id))
        {
            self.record("mounted", namespace, pod, container, line);
        }
    }

    fn record(&self, kind: &str, namespace: &str, pod: &str, container: &str, line: &MountLine) {
        let body = json!({
            "pod": format!("{namespace}/{pod}"),
            "container": container,
            "path": line.mount_point,
            "fileSystem": line.file_system,
            "source": line.source,
            "options": line.options,
        });
        let subject = format!("Pod/{namespace}/{pod}/{container}:{}", line.mount_point);
        self.journal.record(source::MOUNTS, kind, &self.names.plain(&subject), self.names.plain_value(body));
    }
}
