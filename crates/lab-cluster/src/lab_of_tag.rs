//! A lab that is up: everything on the cluster that bears its tag.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use contract::crd::Sandbox;
use journal::{Journal, source};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use lab::{
    Access, Capability, Component, ExportCall, ExportReply, Fault, FaultHandle, KillFault, Lab, LabError,
    Leftover, Mount, NasFault, OssFault, Outage, StorageServer,
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::backend::NAME;
use crate::disturbances::{Disturbances, UndoOnDrop};
use crate::doors::Open;
use crate::names::Names;
use crate::nas::Exports;
use crate::remains::Remains;
use crate::tables::{self, TableError};
use crate::watch::Watches;

/// What is told of parts that can't be put back.
const SHARED_PARTS: &str = "restoring what all labs share";

/// What a lab consists of.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) access: Access,
    pub(crate) journal: Journal,
    pub(crate) client: Client,
    pub(crate) names: Names,
    pub(crate) watches: Watches,
    pub(crate) doors: [Open; 2],
    pub(crate) remains: Remains,
    pub(crate) disturbances: Disturbances,
    pub(crate) exports: Option<Arc<Exports>>,
}

/// The lab.
pub(crate) struct LabOfTag {
    parts: Parts,
    undo: UndoOnDrop,
    returning: Mutex<Returning>,
}

/// The components that were killed: how often, and who waits for their return.
#[derive(Default)]
struct Returning {
    kills: BTreeMap<Component, u32>,
    tasks: JoinSet<()>,
}

impl LabOfTag {
    pub(crate) fn new(parts: Parts) -> Self {
        let undo = UndoOnDrop(Some(parts.disturbances.clone()));
        Self { parts, undo, returning: Mutex::default() }
    }

    /// Kills a process, where the cluster is one's own.
    async fn kill(&self, kill: &KillFault) -> Result<FaultHandle, LabError> {
        let (subject, handle) = match kill {
            KillFault::Component(component) => {
                let (handle, killed) = self.parts.disturbances.kill_component(*component).await?;
                self.tell_when_back(*component, killed);
                (format!("Component/{component}"), handle)
            }
            KillFault::Container { namespace, pod, container } => {
                let id = self.container_id(namespace, pod, container).await?;
                let handle = self.parts.disturbances.kill_container(&id).await?;
                (format!("Pod/{namespace}/{pod}/{container}"), handle)
            }
        };
        self.parts.journal.record(source::FAULT, "injected", &subject, json!({"fault": {"kill": kill}}));
        Ok(handle)
    }

    /// The journal gets a line once a component that was killed works again.
    fn tell_when_back(&self, component: Component, killed: BTreeSet<String>) {
        let (disturbances, journal) = (self.parts.disturbances.clone(), self.parts.journal.clone());
        let mut returning = self.returning.lock().unwrap_or_else(PoisonError::into_inner);
        let kills = returning.kills.entry(component).or_default();
        *kills += 1;
        let restarts = *kills;
        returning.tasks.spawn(async move {
            disturbances.until_back(component, &killed).await;
            let subject = format!("Component/{component}");
            journal.record(source::PROCESS, "started", &subject, json!({"restarts": restarts}));
        });
    }

    /// The id of a running container, as its pod's status has it.
    async fn container_id(&self, namespace: &str, pod: &str, container: &str) -> Result<String, LabError> {
        let api: Api<Pod> =
            Api::namespaced(self.parts.client.clone(), &self.parts.names.namespace(namespace));
        let found = api.get_opt(pod).await.map_err(|error| self.failed("API server", &error))?;
        let status = found.and_then(|pod| pod.status).unwrap_or_default();
        let statuses = status.container_statuses.into_iter().chain(status.init_container_statuses).flatten();
        let mut running =
            statuses.filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
        let found = running.find(|status| status.name == container).and_then(|status| status.container_id);
        found.ok_or_else(|| LabError::NotFound {
            what: "running container".to_owned(),
            name: format!("{namespace}/{pod}/{container}"),
        })
    }

    /// The journal's line about an outage, as a server of the embedded backend writes it.
    fn tell(&self, kind: &str, handle: FaultHandle, server: StorageServer, outage: Outage) {
        let (gone, hang, restart) =
            (outage == Outage::Gone, outage == Outage::Hang, outage == Outage::Restart);
        let body = match server {
            StorageServer::ObjectStore => json!(OssFault { gone, hang, ..OssFault::default() }),
            StorageServer::NetworkFileSystem => {
                json!(NasFault { gone, hang, restart, ..NasFault::default() })
            }
        };
        let subject = format!("{}/{}", server.word(), handle.0);
        self.parts.journal.record(source::FAULT, kind, &subject, body);
    }

    fn failed(&self, part: &str, error: &dyn std::error::Error) -> LabError {
        LabError::Part { lab: self.parts.name.clone(), part: part.to_owned(), reason: lab::chain(error) }
    }
}

fn lacks(what: &str) -> LabError {
    LabError::Unsupported { backend: NAME, what: what.to_owned() }
}

#[async_trait]
impl Lab for LabOfTag {
    fn access(&self) -> &Access {
        &self.parts.access
    }

    fn journal(&self) -> &Journal {
        &self.parts.journal
    }

    async fn mounts(&self, namespace: &str, sandbox: &str) -> Result<Vec<Mount>, LabError> {
        let names = &self.parts.names;
        let table = match tables::read(&self.parts.client, &names.namespace(namespace), sandbox).await {
            Ok(table) => table,
            Err(TableError::NoPod(name)) => {
                return Err(LabError::NotFound { what: "sandbox".to_owned(), name: names.plain(&name) });
            }
            Err(error) => return Err(self.failed("mount table", &error)),
        };
        let mut mounts = table.into_mounts();
        for mount in &mut mounts {
            mount.path = names.plain(&mount.path);
            mount.source = names.plain(&mount.source);
        }
        Ok(mounts)
    }

    async fn advance(&self, _duration: Duration) -> Result<(), LabError> {
        Err(lacks(&Capability::Clock.to_string()))
    }

    async fn inject(&self, fault: Fault) -> Result<FaultHandle, LabError> {
        match &fault {
            Fault::Kill(kill) => self.kill(kill).await,
            Fault::Csi(_) => Err(lacks(&Capability::RpcFaults.to_string())),
            fault => {
                let Some((server, outage)) = fault.outage() else {
                    return Err(lacks(&Capability::StorageFaults.to_string()));
                };
                let handle = self.parts.disturbances.begin(server, outage).await?;
                self.tell("injected", handle, server, outage);
                Ok(handle)
            }
        }
    }

    async fn heal(&self, fault: FaultHandle) -> Result<(), LabError> {
        let (server, outage) = self.parts.disturbances.heal(fault).await?;
        self.tell("healed", fault, server, outage);
        Ok(())
    }

    async fn at_exports(&self, call: ExportCall) -> Result<ExportReply, LabError> {
        match &self.parts.exports {
            Some(exports) => exports.answer(&call).await,
            None => Err(lacks(&Capability::NetworkFileSystem.to_string())),
        }
    }

    fn note_bucket(&self, bucket: &str) {
        self.parts.remains.note_bucket(self.parts.names.real(bucket));
    }

    /// Pods whose Sandbox is gone, and logs that are still being read. What nodes hold is out of sight.
    async fn leftovers(&self) -> Result<Vec<Leftover>, LabError> {
        let mut left = self.parts.watches.unread();
        for namespace in self.parts.watches.namespaces() {
            let sandboxes: Api<Sandbox> = Api::namespaced(self.parts.client.clone(), &namespace);
            let pods: Api<Pod> = Api::namespaced(self.parts.client.clone(), &namespace);
            let parameters = ListParams::default();
            // Pods first: a Sandbox is always older than its pod.
            let pods =
                pods.list_metadata(&parameters).await.map_err(|error| self.failed("API server", &error))?;
            let sandboxes = sandboxes
                .list_metadata(&parameters)
                .await
                .map_err(|error| self.failed("API server", &error))?;
            let known: BTreeSet<String> = sandboxes.items.iter().map(ResourceExt::name_any).collect();
            for pod in &pods.items {
                let owner = pod.owner_references().iter().find(|owner| owner.kind == "Sandbox");
                if let Some(owner) = owner.filter(|owner| !known.contains(&owner.name)) {
                    let subject = format!("Pod/{}/{}", self.parts.names.plain(&namespace), pod.name_any());
                    left.push(Leftover { kind: "object".to_owned(), subject, owner: owner.name.clone() });
                }
            }
        }
        Ok(left)
    }

    async fn settle(&self) -> Result<(), LabError> {
        let part = |part: &str| {
            let (lab, part) = (self.parts.name.clone(), part.to_owned());
            move |reason| LabError::Part { lab, part, reason }
        };
        self.parts.disturbances.undo().await.map_err(part(SHARED_PARTS))?;
        self.parts.remains.remove_key().await.map_err(part("removal of what it made"))
    }

    async fn down(self: Box<Self>) -> Result<(), LabError> {
        let Self { parts, mut undo, returning } = *self;
        drop(returning);
        let Parts { name, access, journal, watches, doors, remains, disturbances, .. } = parts;
        drop(doors);
        drop(watches);
        // First: without the manager, or with a server that is away, nothing of what follows works. Given up meanwhile, it
        // goes on in the background.
        let undone = disturbances.undo().await;
        let removed = remains.remove().await;
        if undone.is_ok() {
            undo.0 = None;
        }
        std::fs::remove_file(&access.kubeconfig)
            .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .map_err(|source| LabError::Io {
                action: format!("remove {}", access.kubeconfig.display()),
                source,
            })?;
        let part = |part: &str| {
            let (lab, part) = (name.clone(), part.to_owned());
            move |reason| LabError::Part { lab, part, reason }
        };
        removed.map_err(part("removal of what it made"))?;
        undone.map_err(part(SHARED_PARTS))?;
        journal.record(source::LAB, "phase", &name, json!({"phase": "down"}));
        Ok(())
    }
}
