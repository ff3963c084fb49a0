//! How the cluster is reached, and the refusal of one that wasn't meant.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lab::LabError;

use crate::backend::NAME;
use crate::powers::Powers;

/// Which cluster, and how.
#[derive(Clone)]
pub struct ClusterOptions {
    /// The kubeconfig file.
    pub kubeconfig: PathBuf,
    /// The context that may be used; it has to be the kubeconfig's current one.
    pub allowed_context: String,
    /// Base URL of the E2B API.
    pub e2b_url: String,
    /// The operator's API key: it makes a key for each scenario.
    pub e2b_key: String,
    /// Sandboxes request little CPU and memory whatever the files say, for a cluster that is small.
    pub small_requests: bool,
    /// The object store that stands for OSS, when scenarios may use one.
    pub object_store: Option<StoreOptions>,
    /// The NFS server that stands for NAS, when scenarios may use one.
    pub network_file_system: Option<NasOptions>,
    /// Whether the cluster's network enforces network policies.
    pub network_policies: bool,
    /// What can be done beyond the cluster's APIs, by whoever made the cluster.
    pub powers: Option<Arc<dyn Powers>>,
}

impl fmt::Debug for ClusterOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClusterOptions")
            .field("kubeconfig", &self.kubeconfig)
            .field("allowed_context", &self.allowed_context)
            .field("e2b_url", &self.e2b_url)
            .field("small_requests", &self.small_requests)
            .field("object_store", &self.object_store)
            .field("network_file_system", &self.network_file_system)
            .finish_non_exhaustive()
    }
}

/// An NFS server, in one of whose folders scenarios make exports of their own and remove them again. What sandboxes mount
/// has its NFS on port 2049.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NasOptions {
    /// The server as sandboxes' CSI agents reach it: what goes into a PersistentVolume's `server`.
    pub inside_server: String,
    /// The folder as sandboxes mount what is in it: `/export`, or nothing for the root.
    pub folder: String,
    /// The host as this machine reaches it.
    pub outside_host: String,
    /// The port of NFS there.
    pub outside_port: u16,
    /// The path by which this machine mounts the folder; root must be root there.
    pub outside_folder: String,
}

/// An object store that speaks S3, in which scenarios make buckets of their own and remove them again.
#[derive(Clone)]
pub struct StoreOptions {
    /// Endpoint as sandboxes' CSI agents reach it: `http://HOST:PORT`.
    pub inside_endpoint: String,
    /// Endpoint as this machine reaches it.
    pub outside_endpoint: String,
    /// Region used in signatures.
    pub region: String,
    /// `AccessKey` ID of a key that may make buckets.
    pub access_key_id: String,
    /// The secret of that key.
    pub access_key_secret: String,
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StoreOptions")
            .field("inside_endpoint", &self.inside_endpoint)
            .field("outside_endpoint", &self.outside_endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// A client for the cluster of the kubeconfig's current context, if that is the one that was allowed.
pub(crate) async fn connect(options: &ClusterOptions) -> Result<Client, LabError> {
    let path = options.kubeconfig.display();
    let unusable = |reason: String| LabError::Machine {
        backend: NAME,
        missing: format!("kubeconfig {path} can't be used: {reason}"),
        remedy: "give the kubeconfig of the cluster by --kubeconfig".to_owned(),
    };
    let kubeconfig =
        Kubeconfig::read_from(&options.kubeconfig).map_err(|error| unusable(lab::chain(&error)))?;
    let current = kubeconfig.current_context.clone().unwrap_or_default();
    if current != options.allowed_context {
        let current = if current.is_empty() { "none".to_owned() } else { format!("{current:?}") };
        return Err(LabError::Machine {
            backend: NAME,
            missing: format!(
                "context {:?} was allowed, and the current context of {path} is {current}",
                options.allowed_context
            ),
            remedy: "say --allow-context NAME with the name of the cluster's context, once you are sure that scenarios \
                     may run there"
                .to_owned(),
        });
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config = config.map_err(|error| unusable(lab::chain(&error)))?;
    Client::try_from(config).map_err(|error| unusable(lab::chain(&error)))
}
