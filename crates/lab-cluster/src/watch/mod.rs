//! The journal of a lab, from what the cluster says: watch events of every kind that scenarios are about, and from
//! those of pods the starts and exits of containers and the lines of their logs.
//!
//! ```text
//! kinds × namespaces ─► follow ─► journal
//!                          ├─ pods ─► pods::Pods ─► journal (process), logs ─► journal (csi, agent)
//!                          │            └────────────────┴─ hints ─► mounts::Mounts ─► journal (mounts)
//!                          └─ the system's pods ─► system::System, logs ─► journal (e2b)
//! ```

mod follow;
mod logs;
mod mounts;
mod pods;
mod system;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use journal::Journal;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::{Client, core::GroupVersionKind};
use lab::Leftover;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::names::{LAB_LABEL, Names};
use follow::Follow;
use mounts::Mounts;
use pods::Pods;
use system::System;

/// Group, version, kind and plural of what is watched in each namespace of a lab.
const NAMESPACED: [(&str, &str, &str, &str); 11] = [
    ("", "v1", "Pod", "pods"),
    ("", "v1", "Event", "events"),
    ("", "v1", "ConfigMap", "configmaps"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    ("agents.kruise.io", "v1alpha1", "SandboxSet", "sandboxsets"),
    ("agents.kruise.io", "v1alpha1", "Sandbox", "sandboxes"),
    ("agents.kruise.io", "v1alpha1", "SandboxClaim", "sandboxclaims"),
    ("agents.kruise.io", "v1alpha1", "SandboxTemplate", "sandboxtemplates"),
    ("agents.kruise.io", "v1alpha1", "Checkpoint", "checkpoints"),
    ("agents.kruise.io", "v1alpha1", "SandboxUpdateOps", "sandboxupdateops"),
    ("agents.kruise.io", "v1alpha1", "TrafficPolicy", "trafficpolicies"),
];

/// The watches of one lab; they end when this is dropped.
pub(crate) struct Watches {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    client: Client,
    names: Names,
    journal: Journal,
    pods: mpsc::UnboundedSender<pods::Seen>,
    namespaces: Mutex<BTreeSet<String>>,
    unread: logs::Unread,
}

impl Watches {
    /// Starts to watch `namespace` and every one that `made` tells of, and returns when what is there has been seen.
    pub(crate) async fn start(
        client: Client,
        names: Names,
        journal: Journal,
        namespace: String,
        mut made: mpsc::UnboundedReceiver<String>,
    ) -> kube::Result<Self> {
        let (pods, seen) = mpsc::unbounded_channel();
        let unread = logs::Unread::default();
        let shared = Arc::new(Shared {
            client: client.clone(),
            names: names.clone(),
            journal: journal.clone(),
            pods,
            namespaces: Mutex::default(),
            unread: unread.clone(),
        });
        let mut tasks = JoinSet::new();
        let (hints, hinted) = mpsc::unbounded_channel();
        let tables = Mounts { client: client.clone(), names: names.clone(), journal: journal.clone() };
        tasks.spawn(tables.run(hinted));
        tasks.spawn(System::new(client.clone(), names.clone(), journal.clone()).run());
        tasks.spawn(Pods::new(client, names, journal, unread, hints).run(seen));
        let volumes = resource(("", "v1", "PersistentVolume", "persistentvolumes"));
        let api = Api::all_with(shared.client.clone(), &volumes);
        let mut ready = vec![shared.follow(&mut tasks, api, volumes, true)];
        ready.extend(shared.begin(&mut tasks, &namespace));
        for ready in ready {
            // Who ends before the first listing has said why.
            if let Ok(listed) = ready.await {
                listed?;
            }
        }
        let later = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut tasks = JoinSet::new();
            while let Some(namespace) = made.recv().await {
                later.begin(&mut tasks, &namespace);
            }
            // The door is shut; what is watched is watched until the lab is down.
            while tasks.join_next().await.is_some() {}
        });
        Ok(Self { shared, _tasks: tasks })
    }

    /// The lab's namespaces, by the cluster's names.
    pub(crate) fn namespaces(&self) -> BTreeSet<String> {
        self.shared.namespaces.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs of pods that are gone which have not been read to their ends.
    pub(crate) fn unread(&self) -> Vec<Leftover> {
        self.shared.unread.list()
    }
}

impl Shared {
    fn begin(&self, tasks: &mut JoinSet<()>, namespace: &str) -> Vec<oneshot::Receiver<kube::Result<()>>> {
        let new = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace.to_owned());
        if !new {
            return Vec::new();
        }
        let kinds = NAMESPACED.into_iter().map(resource);
        kinds
            .map(|kind| {
                let api = Api::namespaced_with(self.client.clone(), namespace, &kind);
                self.follow(tasks, api, kind, false)
            })
            .collect()
    }

    fn follow(
        &self,
        tasks: &mut JoinSet<()>,
        api: Api<DynamicObject>,
        kind: ApiResource,
        labelled: bool,
    ) -> oneshot::Receiver<kube::Result<()>> {
        let (ready, listed) = oneshot::channel();
        let pods = (kind.kind == "Pod").then(|| self.pods.clone());
        let selector = labelled.then(|| format!("{LAB_LABEL}={}", self.names.tag()));
        let (names, journal) = (self.names.clone(), Some(self.journal.clone()));
        let follow = Follow { api, kind, selector, names, journal, pods };
        tasks.spawn(follow.run(ready));
        listed
    }
}

fn resource((group, version, kind, plural): (&str, &str, &str, &str)) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}
