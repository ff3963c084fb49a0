//! The node as its user sees it.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::SharedClock;
use journal::Journal;
use kube::Client;
use lab::Mount;
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::Signal;
use tokio::sync::watch;

use crate::catalogue::{Base, BaseError, Catalogue};
use crate::checkpoints::{self, Store};
use crate::events::Events;
use crate::logs::LogReader;
use crate::mounts;
use crate::network::{NetworkError, NetworkOptions, PodNetwork};
use crate::pod::{PodContext, Update};
use crate::policies::{self, PolicyBook};
use crate::runtime::{Program, Runtime, RuntimeError};
use crate::{Leftover, leftovers, registration};

/// What a node is called unless its options say otherwise.
pub const NODE_NAME: &str = "mountlab";

/// What a node needs.
#[derive(Clone)]
pub struct NodeOptions {
    /// The API server.
    pub client: Client,
    /// Times back-off, probes and grace periods.
    pub clock: SharedClock,
    /// Takes entries of containers, mounts and what processes in pods announce.
    pub journal: Journal,
    /// An empty folder on a file system in memory inside the lab; pods never see it.
    pub state_dir: PathBuf,
    /// The executable that becomes the shim; see [`crate::shim::main`].
    pub shim: Program,
    /// What images are made of.
    pub catalogue: Catalogue,
    /// How pods are connected.
    pub network: NetworkOptions,
    /// Name of the Node object.
    pub node_name: String,
    /// Paths of the machine that `hostPath` volumes may name, with everything below them.
    pub host_paths: Vec<PathBuf>,
    /// How many bytes all checkpoints together may take; they are kept in memory.
    pub checkpoint_space: u64,
}

impl fmt::Debug for NodeOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NodeOptions")
            .field("state_dir", &self.state_dir)
            .field("shim", &self.shim)
            .field("catalogue", &self.catalogue)
            .field("network", &self.network)
            .field("node_name", &self.node_name)
            .field("host_paths", &self.host_paths)
            .field("checkpoint_space", &self.checkpoint_space)
            .finish_non_exhaustive()
    }
}

impl NodeOptions {
    /// A node called `mountlab` on subnet 10.88.0.0/16 whose shim is `executable shim`; of the machine's paths pods
    /// may have `/dev/fuse`. Checkpoints may take 1 GiB.
    pub fn new(
        client: Client,
        clock: SharedClock,
        journal: Journal,
        state_dir: PathBuf,
        executable: PathBuf,
    ) -> Self {
        Self {
            client,
            clock,
            journal,
            state_dir,
            shim: Program { path: executable.clone(), arguments: vec!["shim".into()] },
            catalogue: Catalogue::new(executable),
            network: NetworkOptions::default(),
            node_name: NODE_NAME.to_owned(),
            host_paths: vec!["/dev/fuse".into()],
            checkpoint_space: 1 << 30,
        }
    }
}

/// Why a node did not start or did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The state directory could not be prepared.
    #[error("preparing {path} failed", path = path.display())]
    State {
        /// What was prepared.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The images' base could not be made.
    #[error("making the images' base failed")]
    Base(#[from] BaseError),
    /// The network could not be made or asked.
    #[error("the lab's network failed")]
    Network(#[from] NetworkError),
    /// The shim could not be started.
    #[error("starting the shim failed: {0}")]
    Shim(String),
    /// The Node object could not be written.
    #[error("registering the node failed")]
    Register(#[source] Box<kube::Error>),
    /// There is no such pod here.
    #[error("pod {namespace}/{pod} is not on this node")]
    NoPod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        pod: String,
    },
    /// The pod has no such container, or it isn't running.
    #[error("container {container:?} of pod {namespace}/{pod} is not running")]
    NotRunning {
        /// The pod's namespace.
        namespace: String,
        /// The pod's name.
        pod: String,
        /// The container; empty for the first main container.
        container: String,
    },
    /// There is no log.
    #[error("container {container:?} of pod {namespace}/{pod} has no {which} log")]
    NoLog {
        /// The pod's namespace.
        namespace: String,
        /// The pod's name.
        pod: String,
        /// The container.
        container: String,
        /// `current` or `previous`.
        which: &'static str,
    },
    /// A command in a container has no end.
    #[error("running {command:?} in a container failed: {reason}")]
    Command {
        /// The program.
        command: String,
        /// What went wrong.
        reason: String,
    },
    /// The mount table could not be read.
    #[error("reading the mount table of {subject} failed")]
    Mounts {
        /// Which container's.
        subject: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl From<RuntimeError> for NodeError {
    fn from(error: RuntimeError) -> Self {
        Self::Shim(crate::error_chain(&error))
    }
}

/// What a command in a container gave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CommandResult {
    /// Exit code; 128 + signal number if it was killed.
    pub code: i32,
    /// Standard output and standard error.
    pub output: String,
}

/// A running node; clones mean the same one. With the last clone it stops to watch for new pods; what runs goes on
/// until the enclosure ends.
#[derive(Clone, Debug)]
pub struct Node {
    shared: Arc<Shared>,
    _watch: Arc<AbortOnDrop>,
}

#[derive(Debug)]
struct AbortOnDrop([tokio::task::AbortHandle; 3]);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

/// What every part of the node uses.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) clock: SharedClock,
    pub(crate) journal: Journal,
    pub(crate) runtime: Runtime,
    pub(crate) catalogue: Catalogue,
    pub(crate) base: Base,
    pub(crate) checkpoints: Store,
    pub(crate) network: PodNetwork,
    pub(crate) policies: PolicyBook,
    pub(crate) events: Events,
    pub(crate) node_name: String,
    pub(crate) host_paths: Vec<PathBuf>,
    /// Whether root here is an ordinary user of the machine.
    pub(crate) user_namespace: bool,
    state_dir: PathBuf,
    pods: Mutex<HashMap<String, Entry>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("node_name", &self.node_name).finish_non_exhaustive()
    }
}

/// A pod of this node.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) context: Arc<PodContext>,
    pub(crate) updates: watch::Sender<Update>,
}

impl Shared {
    /// The pods by their uid.
    pub(crate) fn pods(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the folders of pods are.
    pub(crate) fn pods_directory(&self) -> PathBuf {
        self.state_dir.join("pods")
    }
}

impl Node {
    /// Makes network and images' base, starts the shim, registers the node, and begins to run pods.
    ///
    /// # Errors
    /// [`NodeError`] naming the part that failed.
    pub async fn start(options: NodeOptions) -> Result<Self, NodeError> {
        let NodeOptions {
            client,
            clock,
            journal,
            state_dir,
            shim,
            catalogue,
            network,
            node_name,
            host_paths,
            checkpoint_space,
        } = options;
        let folder = state_dir.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare_state(&folder, &shim, catalogue));
        let network = PodNetwork::start(network).await?;
        let (base, shim, catalogue) = prepared.await.map_err(|error| NodeError::State {
            path: state_dir.clone(),
            source: std::io::Error::other(error),
        })??;
        let checkpoints = state_dir.join("checkpoints");
        let checkpoints = Store::make(checkpoints.clone(), checkpoint_space)
            .map_err(|source| NodeError::State { path: checkpoints, source })?;
        let shared = Arc::new(Shared {
            checkpoints,
            events: Events::start(client.clone(), clock.clone(), node_name.clone()),
            runtime: Runtime::start(&shim)?,
            catalogue,
            user_namespace: in_user_namespace(),
            pods: Mutex::default(),
            policies: policies::follow(&client),
            client,
            clock,
            journal,
            base,
            network,
            node_name,
            host_paths,
            state_dir,
        });
        registration::register(&shared).await.map_err(|error| NodeError::Register(Box::new(error)))?;
        let watch = tokio::spawn(crate::watch::follow(shared.clone())).abort_handle();
        let enforcement = tokio::spawn(policies::keep_enforced(shared.clone())).abort_handle();
        let keeping = tokio::spawn(checkpoints::follow(shared.clone())).abort_handle();
        Ok(Self { shared, _watch: Arc::new(AbortOnDrop([watch, enforcement, keeping])) })
    }

    /// The bridge's address: where services of the lab listen for pods.
    pub fn gateway(&self) -> std::net::Ipv4Addr {
        self.shared.network.bridge_address()
    }

    /// The mount table of a running container, the first main container if none is named, with the symbolic links of
    /// its root that lead to each mount.
    ///
    /// # Errors
    /// [`NodeError::NoPod`], [`NodeError::NotRunning`], or [`NodeError::Mounts`] when it ends meanwhile.
    pub async fn mounts(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
    ) -> Result<Vec<Mount>, NodeError> {
        let context = self.pod(namespace, pod)?;
        let record = context.running(container).ok_or_else(|| not_running(namespace, pod, container))?;
        let subject = context.subject(&record.0);
        mounts::list(record.1).await.map_err(|source| NodeError::Mounts { subject, source })
    }

    /// Kills a container's first process with SIGKILL, and so all of the container.
    ///
    /// # Errors
    /// [`NodeError::NoPod`] or [`NodeError::NotRunning`].
    #[allow(clippy::unused_async, reason = "asking a node is asynchronous, however this one does it")]
    pub async fn kill(&self, namespace: &str, pod: &str, container: &str) -> Result<(), NodeError> {
        let context = self.pod(namespace, pod)?;
        let running = context.board.find(container).and_then(|record| record.running);
        let running = running.ok_or_else(|| not_running(namespace, pod, Some(container)))?;
        running.process.signal(Signal::KILL);
        Ok(())
    }

    /// Runs a command in a running container, the first main container if none is named, with the container's
    /// environment and user; at most `limit` of real time. For tests and for looking around: the output is cut after
    /// a few kilobytes.
    ///
    /// # Errors
    /// [`NodeError::NoPod`], [`NodeError::NotRunning`], or [`NodeError::Command`] when it doesn't start or takes too
    /// long.
    pub async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        command: &[&str],
        limit: Duration,
    ) -> Result<CommandResult, NodeError> {
        let context = self.pod(namespace, pod)?;
        let name = context.running(container).ok_or_else(|| not_running(namespace, pod, container))?.0;
        context.run_command(&name, command, limit).await.map_err(|error| NodeError::Command {
            command: command.first().copied().unwrap_or_default().to_owned(),
            reason: crate::error_chain(&error),
        })
    }

    /// Runs a command in a running container for `kubectl exec`: its exit code, all of its standard output and all of its
    /// standard error.
    ///
    /// # Errors
    /// As for [`Node::exec`].
    pub async fn output_of(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        command: &[String],
        limit: Duration,
    ) -> Result<(i32, Vec<u8>, Vec<u8>), NodeError> {
        let context = self.pod(namespace, pod)?;
        let ended =
            context.output_of(container, command, limit).await.map_err(|error| NodeError::Command {
                command: command.first().cloned().unwrap_or_default(),
                reason: crate::error_chain(&error),
            })?;
        Ok((ended.code, ended.standard, ended.error))
    }

    /// The log of a container's current attempt, or of the one before it.
    ///
    /// # Errors
    /// [`NodeError::NoPod`] or [`NodeError::NoLog`].
    pub fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Result<LogReader, NodeError> {
        let context = self.pod(namespace, pod)?;
        let log = context.logs(container).and_then(|logs| logs.get(previous));
        log.map(LogReader::new).ok_or_else(|| NodeError::NoLog {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.to_owned(),
            which: if previous { "previous" } else { "current" },
        })
    }

    /// What is there although its pod is gone: mounts, processes, links and folders.
    ///
    /// # Errors
    /// [`NodeError`] when the inventory can't be taken.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>, NodeError> {
        leftovers::find(&self.shared).await
    }

    fn pod(&self, namespace: &str, pod: &str) -> Result<Arc<PodContext>, NodeError> {
        let pods = self.shared.pods();
        let named = pods.values().map(|entry| &entry.context);
        let named = named.filter(|context| context.namespace == namespace && context.name == pod);
        // One that has just gone may still be cleaning up while its successor starts.
        let latest = named.max_by_key(|context| context.start_time).cloned();
        latest.ok_or_else(|| NodeError::NoPod { namespace: namespace.to_owned(), pod: pod.to_owned() })
    }
}

fn not_running(namespace: &str, pod: &str, container: Option<&str>) -> NodeError {
    NodeError::NotRunning {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container: container.unwrap_or_default().to_owned(),
    }
}

/// Makes the images' base, and shows the executables through read-only mounts: what runs in a container can find its
/// first process's executable through `/proc`, and must not be able to change it.
fn prepare_state(
    state_dir: &Path,
    shim: &Program,
    catalogue: Catalogue,
) -> Result<(Base, Program, Catalogue), NodeError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source: std::io::Error| NodeError::State { path, source }
    };
    let base_folder = state_dir.join("base");
    for folder in [&base_folder, &state_dir.join("pods"), &state_dir.join("programs")] {
        std::fs::create_dir_all(folder).map_err(at(folder))?;
    }
    let read_only = |name: &str, original: &Path| -> Result<PathBuf, NodeError> {
        let place = state_dir.join("programs").join(name);
        let mounted = std::fs::write(&place, "").and_then(|()| {
            mount_bind(original, &place)?;
            mount_change(&place, MountPropagationFlags::PRIVATE)?;
            Ok(crate::read_only::remount(&place)?)
        });
        mounted.map_err(at(original))?;
        Ok(place)
    };
    let shim = Program { path: read_only("shim", &shim.path)?, arguments: shim.arguments.clone() };
    let mountlab_executable = read_only("mountlab", &catalogue.mountlab_executable)?;
    let agent_executable =
        catalogue.agent_executable.map(|agent| read_only("agent-runtime", &agent)).transpose()?;
    let base = Base::make(&base_folder, Path::new("/"))?;
    Ok((base, shim, Catalogue { mountlab_executable, agent_executable, ..catalogue }))
}

/// Whether user ids here are not those of the machine.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
}
