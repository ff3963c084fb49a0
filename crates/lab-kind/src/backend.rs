//! The backend: the environment with the system installed on it, and labs as on any cluster, with what only a cluster of
//! one's own can do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use clock::SharedClock;
use contract::names::csi_agent::OssMounter;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lab::{Backend, Capability, Kept, Lab, LabError, SharedPart, UpOptions};
use lab_cluster::{ClusterOptions, NasOptions, StoreOptions, SystemImages};
use tokio::sync::{Mutex, OnceCell};

use crate::observer::Step;
use crate::powers::OwnPowers;
use crate::storage::{Apart, ServersApart};
use crate::{ADMINISTRATION, DOOR, Docker, Environment, Minio, NAME, NfsServer, Observer, Settings};

/// How long controller and manager may take to be available.
const SYSTEM_LIMIT: Duration = Duration::from_secs(180);
/// How long the way to the E2B API may take to open once the manager is available.
const DOOR_LIMIT: Duration = Duration::from_secs(60);
/// How many labs one processor serves.
const JOBS_PER_PROCESSOR: usize = 3;
/// What labs can do here.
const CAPABILITIES: [Capability; 8] = [
    Capability::ObjectStore,
    Capability::NetworkFileSystem,
    Capability::ExportRules,
    Capability::MountTable,
    Capability::StorageOutages,
    Capability::ProcessFaults,
    Capability::ComponentFaults,
    Capability::SystemConfiguration,
];

/// What a paused sandbox keeps there.
pub fn kept() -> Kept {
    Kept::by(CAPABILITIES.contains(&Capability::MemoryKept))
}

/// The backend that makes its cluster, or takes the one that it made before.
pub struct Kind {
    settings: Settings,
    /// Whether the cluster stays after the run; one that was there before stays anyway.
    keep: bool,
    oss_mounter: OssMounter,
    clock: SharedClock,
    observer: Arc<dyn Observer>,
    ready: OnceCell<Ready>,
    environment: Mutex<Option<Environment>>,
    /// Whether anything was begun.
    begun: AtomicBool,
}

struct Ready {
    cluster: lab_cluster::Cluster,
    was_there: bool,
    servers: Servers,
    apart: Apart,
}

/// The storage servers of a lab, and the way to them and to the node.
#[derive(Clone)]
struct Servers {
    docker: Docker,
    node: String,
    minio: Minio,
    nfs: NfsServer,
}

impl Kind {
    /// A backend with these settings; `keep` leaves the cluster up for the next run.
    pub fn new(settings: Settings, keep: bool, clock: SharedClock, observer: Arc<dyn Observer>) -> Self {
        Self {
            settings,
            keep,
            oss_mounter: OssMounter::default(),
            clock,
            observer,
            ready: OnceCell::new(),
            environment: Mutex::default(),
            begun: AtomicBool::new(false),
        }
    }

    /// The same, with OSS volumes mounted by `mounter`: the system's configuration says it to CSI agents of new pods, on a cluster
    /// that was there before as well.
    #[must_use]
    pub fn with_oss_mounter(self, mounter: OssMounter) -> Self {
        Self { oss_mounter: mounter, ..self }
    }

    async fn ready(&self) -> Result<&Ready, LabError> {
        self.ready.get_or_try_init(|| Box::pin(self.bring_up())).await
    }

    async fn bring_up(&self) -> Result<Ready, LabError> {
        self.begun.store(true, Ordering::Relaxed);
        let was_there = self.settings.folders.has_cluster(&self.settings.name);
        let environment = Environment::up(self.settings.clone(), self.observer.as_ref()).await?;
        let mut kept = self.environment.lock().await;
        let environment = kept.insert(environment);
        let node = environment.cluster().node();
        let images = environment.images();
        let step = Step::begin(self.observer.as_ref(), "installing the system");
        let kubeconfig = environment.cluster().kubeconfig();
        let client = client(&kubeconfig).await?;
        let system = SystemImages {
            system: images.mountlab.clone(),
            agent_runtime: images.mountlab.clone(),
            csi_agent: images.csi_agent.clone(),
        };
        let more = door_manifest();
        let key = lab_cluster::install(&client, &system, self.oss_mounter, &[&more], SYSTEM_LIMIT).await;
        let key = key.map_err(|error| part("the system", &error))?;
        let door = environment.cluster().door().await?;
        let servers = Servers {
            docker: environment.docker().clone(),
            node,
            minio: environment.minio().clone(),
            nfs: environment.nfs().clone(),
        };
        let options = ClusterOptions {
            allowed_context: current_context(&kubeconfig)?,
            kubeconfig,
            e2b_url: format!("http://{door}"),
            e2b_key: key,
            small_requests: true,
            // The bridge of the built node only carries packets.
            network_policies: false,
            object_store: Some(store_options(&servers.minio)),
            network_file_system: Some(nas_options(&servers.nfs)),
            powers: Some(Arc::new(servers.powers(None))),
        };
        let cluster = lab_cluster::Cluster::new(options, self.clock.clone());
        cluster.until_reachable(DOOR_LIMIT).await?;
        step.done();
        Ok(Ready { cluster, was_there, servers, apart: environment.apart().clone() })
    }
}

/// Why a lab is not up, and that its servers are still there.
fn both(lab: String, error: &LabError, left: &LabError) -> LabError {
    let (error, left) = (lab::chain(error), lab::chain(left));
    let reason = format!("{error}; and its own storage servers could not be removed: {left}");
    LabError::Part { lab, part: "the start".to_owned(), reason }
}

impl Ready {
    /// A lab whose scenario disturbs storage servers has those to itself.
    async fn up(&self, options: UpOptions) -> Result<Box<dyn Lab>, LabError> {
        let servers = [SharedPart::ObjectStore, SharedPart::NetworkFileSystem];
        if servers.iter().all(|server| !options.sharing.disturbs.contains(server)) {
            return self.cluster.up(options).await;
        }
        let apart = self.apart.start(&options.sharing.disturbs).await?;
        let mut servers = self.servers.clone();
        if let Some(minio) = &apart.minio {
            servers.minio = minio.clone();
        }
        if let Some(nfs) = &apart.nfs {
            servers.nfs = nfs.clone();
        }
        let cluster = self.cluster.with_options(|options| {
            options.object_store = Some(store_options(&servers.minio));
            options.network_file_system = Some(nas_options(&servers.nfs));
            options.powers = Some(Arc::new(servers.powers(Some(apart.clone()))));
        });
        let name = options.name.clone();
        match cluster.up(options).await {
            Ok(lab) => Ok(lab),
            Err(error) => Err(match apart.remove().await {
                Ok(()) => error,
                Err(left) => both(name, &error, &left.into()),
            }),
        }
    }
}

impl Servers {
    fn powers(&self, apart: Option<ServersApart>) -> OwnPowers {
        let Self { docker, node, minio, nfs } = self.clone();
        OwnPowers { docker, node, minio, nfs, apart }
    }
}

fn store_options(minio: &Minio) -> StoreOptions {
    StoreOptions {
        inside_endpoint: minio.inside_endpoint().to_owned(),
        outside_endpoint: minio.outside_endpoint().to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: minio.access_key_id().to_owned(),
        access_key_secret: minio.access_key_secret().to_owned(),
    }
}

fn nas_options(nfs: &NfsServer) -> NasOptions {
    NasOptions {
        inside_server: nfs.address().to_owned(),
        folder: String::new(),
        outside_host: nfs.address().to_owned(),
        outside_port: nfs.ports().0,
        outside_folder: ADMINISTRATION.to_owned(),
    }
}

#[async_trait]
impl Backend for Kind {
    fn name(&self) -> &'static str {
        NAME
    }

    fn missing(&self, needed: &[Capability]) -> Vec<Capability> {
        needed.iter().copied().filter(|capability| !CAPABILITIES.contains(capability)).collect()
    }

    fn shared(&self) -> &[SharedPart] {
        &[SharedPart::Controller, SharedPart::System]
    }

    /// Labs of a cluster wait more than they work.
    fn jobs(&self, processors: usize) -> usize {
        processors.saturating_mul(JOBS_PER_PROCESSOR)
    }

    fn goes_down_aside(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), LabError> {
        self.ready().await.map(drop)
    }

    fn down_limit(&self, _stopped: bool) -> Duration {
        lab_cluster::DOWN_LIMIT
    }

    async fn up(&self, options: UpOptions) -> Result<Box<dyn Lab>, LabError> {
        self.ready().await?.up(options).await
    }

    async fn finish(&self) -> Result<(), LabError> {
        let stays = self.keep || self.ready.get().is_none_or(|ready| ready.was_there);
        if stays && let Some(ready) = self.ready.get() {
            ready.cluster.finish().await?;
            ready.apart.sweep().await?;
        }
        match self.environment.lock().await.take() {
            Some(environment) if !stays => Ok(environment.down(self.observer.as_ref()).await?),
            // Given up on the way: half a cluster is of no use to anybody.
            None if self.begun.load(Ordering::Relaxed) => {
                Ok(Environment::abandon(&self.settings, self.observer.as_ref()).await?)
            }
            _ => Ok(()),
        }
    }
}

/// The way in from this machine: the port of the node that Docker publishes.
fn door_manifest() -> String {
    format!(
        "apiVersion: v1\n\
         kind: Service\n\
         metadata: {{name: sandbox-manager-door, namespace: sandbox-system}}\n\
         spec:\n  \
           type: NodePort\n  \
           selector: {{component: sandbox-manager}}\n  \
           ports: [{{name: api, port: 8080, targetPort: api, nodePort: {DOOR}}}]\n"
    )
}

async fn client(kubeconfig: &Path) -> Result<Client, LabError> {
    let parsed = Kubeconfig::read_from(kubeconfig).map_err(|error| part("kubeconfig", &error))?;
    let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await;
    let config = config.map_err(|error| part("kubeconfig", &error))?;
    Client::try_from(config).map_err(|error| part("kubeconfig", &error))
}

fn current_context(kubeconfig: &Path) -> Result<String, LabError> {
    let parsed = Kubeconfig::read_from(kubeconfig).map_err(|error| part("kubeconfig", &error))?;
    Ok(parsed.current_context.unwrap_or_default())
}

fn part(part: &str, error: &dyn std::error::Error) -> LabError {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    LabError::Part { lab: NAME.to_owned(), part: part.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KindError;

    #[test]
    fn a_lab_that_does_not_come_up_says_why_though_its_servers_stay_as_well() {
        let error = LabError::Deadline {
            deadline: "warm pool deadline",
            limit: Duration::from_secs(3),
            last: "no pod".to_owned(),
        };
        let left = LabError::from(KindError::machine("Docker is gone", "start it"));
        let said = both("one".to_owned(), &error, &left).to_string();
        let told =
            ["the start of lab one", "warm pool deadline of 3s passed; last state: no pod", "Docker is gone"];
        assert!(told.iter().all(|words| said.contains(words)), "{said}");
    }
}
