//! A lab that is up: everything on the cluster that bears its tag.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use contract::crd::Sandbox;
use journal::{Journal, source};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use lab::{Access, Fault, FaultHandle, KillFault, Lab, LabError, Leftover, Mount};
use serde_json::json;

use crate::backend::NAME;
use crate::doors::Open;
use crate::names::Names;
use crate::powers::Powers;
use crate::remains::Remains;
use crate::tables::{self, TableError};
use crate::watch::Watches;

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
    pub(crate) powers: Option<Arc<dyn Powers>>,
}

/// The lab.
pub(crate) struct LabOfTag {
    parts: Parts,
    /// How many processes were killed.
    killed: AtomicU64,
}

impl LabOfTag {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts, killed: AtomicU64::new(0) }
    }

    /// Kills a container's first process, where the cluster is one's own.
    async fn kill(&self, kill: &KillFault) -> Result<FaultHandle, LabError> {
        let Some(powers) = &self.parts.powers else {
            return Err(lacks(&lab::Capability::ProcessFaults.to_string()));
        };
        let KillFault { namespace, pod, container } = kill;
        let api: Api<Pod> =
            Api::namespaced(self.parts.client.clone(), &self.parts.names.namespace(namespace));
        let found = api.get_opt(pod).await.map_err(|error| self.failed("API server", &error))?;
        let status = found.and_then(|pod| pod.status).unwrap_or_default();
        let statuses = status.container_statuses.into_iter().chain(status.init_container_statuses).flatten();
        let mut running =
            statuses.filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
        let found = running.find(|status| status.name == *container).and_then(|status| status.container_id);
        let id = found.ok_or_else(|| LabError::NotFound {
            what: "running container".to_owned(),
            name: format!("{namespace}/{pod}/{container}"),
        })?;
        powers.kill(&id).await?;
        let subject = format!("Pod/{namespace}/{pod}/{container}");
        self.parts.journal.record(source::FAULT, "injected", &subject, json!({"fault": {"kill": kill}}));
        Ok(FaultHandle(self.killed.fetch_add(1, Ordering::Relaxed)))
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
        Err(lacks(&lab::Capability::Clock.to_string()))
    }

    async fn inject(&self, fault: Fault) -> Result<FaultHandle, LabError> {
        match &fault {
            Fault::Kill(kill) => self.kill(kill).await,
            _ => Err(lacks("faults of calls and servers")),
        }
    }

    async fn heal(&self, fault: FaultHandle) -> Result<(), LabError> {
        Err(LabError::NotFound { what: "fault".to_owned(), name: fault.0.to_string() })
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
            let pods = pods.list(&parameters).await.map_err(|error| self.failed("API server", &error))?;
            let sandboxes =
                sandboxes.list(&parameters).await.map_err(|error| self.failed("API server", &error))?;
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

    async fn down(self: Box<Self>) -> Result<(), LabError> {
        let Parts { name, access, journal, watches, doors, remains, .. } = self.parts;
        drop(doors);
        drop(watches);
        let removed = remains.remove().await;
        std::fs::remove_file(&access.kubeconfig)
            .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .map_err(|source| LabError::Io {
                action: format!("remove {}", access.kubeconfig.display()),
                source,
            })?;
        removed.map_err(|reason| LabError::Part {
            lab: name.clone(),
            part: "removal of what it made".to_owned(),
            reason,
        })?;
        journal.record(source::LAB, "phase", &name, json!({"phase": "down"}));
        Ok(())
    }
}
