//! The backend: brings a lab up on a cluster that is there.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clock::SharedClock;
use contract::names::SYSTEM_NAMESPACE;
use journal::{Journal, source};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use lab::{Access, Backend, Capability, Lab, LabError, ObjectStore, SharedPart, UpOptions};
use serde_json::json;
use tokio::sync::mpsc;

use crate::access::{ClusterOptions, NasOptions, connect};
use crate::departing::Departing;
use crate::disturbances::Disturbances;
use crate::doors::{self, E2bDoor, KubernetesDoor};
use crate::e2b::{Upstream, UpstreamError};
use crate::lab_of_tag::{LabOfTag, Parts};
use crate::names::Names;
use crate::nas::Exports;
use crate::remains::{DOWN_LIMIT, LIMIT, Remains};
use crate::watch::Watches;

/// The backend's name.
pub(crate) const NAME: &str = "cluster";

/// The namespace in which a scenario's objects are unless they say otherwise.
const DEFAULT: &str = "default";
/// How long the NFS server may take to be tried.
const SERVER_LIMIT: Duration = Duration::from_secs(15);

/// The backend for clusters that are there already.
#[derive(Clone, Debug)]
pub struct Cluster {
    options: Arc<ClusterOptions>,
    departing: Departing,
    clock: SharedClock,
}

impl Cluster {
    /// A backend whose labs are on the cluster that `options` name; `clock` stamps the journal.
    pub fn new(options: ClusterOptions, clock: SharedClock) -> Self {
        Self { options: Arc::new(options), departing: Departing::default(), clock }
    }

    /// The same backend with storage servers, or powers over them, of one lab alone.
    #[must_use]
    pub fn with_options(&self, change: impl FnOnce(&mut ClusterOptions)) -> Self {
        let mut options = ClusterOptions::clone(&self.options);
        change(&mut options);
        Self { options: Arc::new(options), ..self.clone() }
    }
}

#[async_trait]
impl Backend for Cluster {
    fn name(&self) -> &'static str {
        NAME
    }

    fn missing(&self, needed: &[Capability]) -> Vec<Capability> {
        let has = |capability: &Capability| match capability {
            Capability::ObjectStore => self.options.object_store.is_some(),
            Capability::NetworkFileSystem => self.options.network_file_system.is_some(),
            Capability::MountTable => true,
            Capability::ResourceRequests => !self.options.small_requests,
            Capability::NetworkPolicies => self.options.network_policies,
            other => self.options.powers.as_ref().is_some_and(|powers| powers.capabilities().contains(other)),
        };
        needed.iter().copied().filter(|capability| !has(capability)).collect()
    }

    async fn check(&self) -> Result<(), LabError> {
        check_system(&connect(&self.options).await?).await?;
        match &self.options.network_file_system {
            Some(server) => check_server(server).await,
            None => Ok(()),
        }
    }

    fn goes_down_aside(&self) -> bool {
        true
    }

    async fn finish(&self) -> Result<(), LabError> {
        if self.departing.is_empty() {
            return Ok(());
        }
        self.departing.until_gone(&connect(&self.options).await?, LIMIT).await
    }

    fn down_limit(&self, _stopped: bool) -> Duration {
        DOWN_LIMIT
    }

    async fn up(&self, options: UpOptions) -> Result<Box<dyn Lab>, LabError> {
        let deadline = options.deadline;
        match tokio::time::timeout(deadline, self.bring_up(options)).await {
            Ok(lab) => Ok(Box::new(lab?)),
            Err(_) => Err(LabError::Deadline {
                deadline: "lab start deadline",
                limit: deadline,
                last: "the cluster or its E2B API had not answered".to_owned(),
            }),
        }
    }
}

impl Cluster {
    /// Waits until the E2B API answers.
    ///
    /// # Errors
    /// [`LabError::Deadline`] with what was in the way last.
    pub async fn until_reachable(&self, limit: Duration) -> Result<(), LabError> {
        let unusable = |error: UpstreamError| LabError::Part {
            lab: NAME.to_owned(),
            part: "E2B API".to_owned(),
            reason: lab::chain(&error),
        };
        let upstream = Upstream::new(&self.options.e2b_url).map_err(unusable)?;
        upstream.until_healthy(limit).await.map_err(|last| LabError::Deadline {
            deadline: "deadline of the E2B API's first answer",
            limit,
            last,
        })
    }

    async fn bring_up(&self, options: UpOptions) -> Result<LabOfTag, LabError> {
        let journal = Journal::new(self.clock.clone());
        journal.guard(&self.options.e2b_key);
        journal.record(source::LAB, "phase", &options.name, json!({"phase": "start", "seed": options.seed}));
        let client = connect(&self.options).await?;
        let failed = |part: &str, reason: String| LabError::Part {
            lab: options.name.clone(),
            part: part.to_owned(),
            reason,
        };
        let upstream =
            Upstream::new(&self.options.e2b_url).map_err(|error| failed("E2B API", lab::chain(&error)))?;
        check_system(&client).await?;

        let uses = |part| options.sharing.uses.contains(&part);
        let nas = self.options.network_file_system.as_ref();
        let nas = nas.filter(|_| uses(SharedPart::NetworkFileSystem));
        let names = match nas {
            Some(server) => Names::draw().with_nas(&server.inside_server, &server.folder),
            None => Names::draw(),
        };
        let mut remains = Remains::new(
            client.clone(),
            names.clone(),
            upstream.clone(),
            &self.options,
            self.departing.clone(),
            self.clock.clone(),
        );
        let exports = match nas {
            Some(server) => {
                let found = Exports::find(server, &names, self.options.powers.clone()).await;
                Some(Arc::new(found.map_err(|error| failed("NFS server", lab::chain(&error)))?))
            }
            None => None,
        };
        remains.exports.clone_from(&exports);
        let namespace = names.namespace(DEFAULT);
        remains.make_namespace(&namespace).await.map_err(|error| failed("namespace", lab::chain(&error)))?;
        let key_name = format!("mountlab {}", names.tag());
        let key = upstream.make_key(&self.options.e2b_key, &key_name, &namespace).await;
        let (id, key) = key.map_err(|error| failed("E2B API", lab::chain(&error)))?;
        *remains.key.lock().await = Some(id);
        journal.guard(&key);

        let (made, namespaces) = mpsc::unbounded_channel();
        let watches = Watches::start(client.clone(), names.clone(), journal.clone(), namespace, namespaces);
        let watches = watches.await.map_err(|error| failed("watch", lab::chain(&error)))?;

        let (e2b_listener, e2b_address) = doors::listen().await?;
        let (kubernetes_listener, kubernetes_address) = doors::listen().await?;
        let domain = e2b_address.to_string();
        let e2b = E2bDoor {
            upstream: upstream.clone(),
            names: names.clone(),
            journal: journal.clone(),
            domain: domain.clone(),
        };
        let secret = uuid::Uuid::new_v4().simple().to_string();
        journal.conceal(&secret);
        let kubeconfig =
            write_kubeconfig(&options.directory, &format!("http://{kubernetes_address}/{secret}"))?;
        let disturbances = Disturbances::new(client.clone(), upstream.clone(), self.options.powers.clone());
        let may_configure = self.missing(&[Capability::SystemConfiguration]).is_empty()
            && options.needed.contains(&Capability::SystemConfiguration);
        let kubernetes = KubernetesDoor {
            client: client.clone(),
            names: names.clone(),
            configuration: may_configure.then(|| disturbances.configuration.clone()),
            secret,
            small_requests: self.options.small_requests,
            made,
        };
        let doors = [
            doors::open(e2b_listener, e2b_address, e2b.router()),
            doors::open(kubernetes_listener, kubernetes_address, kubernetes.router()),
        ];
        let access = Access {
            e2b_url: format!("http://{}", doors[0].address),
            e2b_key: key,
            e2b_domain: domain,
            kubeconfig,
            object_store: self.options.object_store.as_ref().map(|store| ObjectStore {
                outside_endpoint: store.outside_endpoint.clone(),
                inside_endpoint: store.inside_endpoint.clone(),
                region: store.region.clone(),
                access_key_id: store.access_key_id.clone(),
                access_key_secret: store.access_key_secret.clone(),
                bucket_prefix: names.prefix().to_owned(),
            }),
            network_file_system: exports.as_ref().map(|exports| exports.access()),
        };
        let phase = json!({"phase": "up", "tag": names.tag(), "context": self.options.allowed_context});
        journal.record(source::LAB, "phase", &options.name, phase);
        let name = options.name.clone();
        let parts =
            Parts { name, access, journal, client, names, watches, doors, remains, disturbances, exports };
        Ok(LabOfTag::new(parts))
    }
}

/// The system has to be there: its namespace and its kinds.
async fn check_system(client: &Client) -> Result<(), LabError> {
    let missing = |missing: String| {
        LabError::Machine {
        backend: NAME,
        missing,
        remedy: "install the system first, with `kubectl apply --server-side -f kind/manifests/` or as the cluster's \
                 operator does"
            .to_owned(),
    }
    };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = namespaces.get_opt(SYSTEM_NAMESPACE).await;
    let found = found.map_err(|error| LabError::Machine {
        backend: NAME,
        missing: format!("the cluster gave no answer: {}", lab::chain(&error)),
        remedy: "check the kubeconfig's address and credentials with `kubectl get namespaces`".to_owned(),
    })?;
    if found.is_none() {
        return Err(missing(format!("there is no namespace {SYSTEM_NAMESPACE} on the cluster")));
    }
    let kinds = client.list_api_group_resources("agents.kruise.io/v1alpha1").await;
    match kinds {
        Ok(kinds) if kinds.resources.iter().any(|resource| resource.name == "sandboxsets") => Ok(()),
        _ => Err(missing("the cluster doesn't know SandboxSets (agents.kruise.io/v1alpha1)".to_owned())),
    }
}

/// Labs have to be able to make exports of their own.
async fn check_server(server: &NasOptions) -> Result<(), LabError> {
    let NasOptions { inside_server, folder, outside_host, outside_port, .. } = server;
    let trying = async {
        let exports =
            Exports::find(server, &Names::draw(), None).await.map_err(|error| lab::chain(&error))?;
        exports.check().await
    };
    let tried = tokio::time::timeout(SERVER_LIMIT, trying).await;
    tried.unwrap_or_else(|_| Err(format!("no answer within {SERVER_LIMIT:?}"))).map_err(|reason| LabError::Machine {
        backend: NAME,
        missing: format!(
            "no exports can be made in {inside_server}:{folder}/, reached at {outside_host}, port {outside_port}: {reason}"
        ),
        remedy: "let the server offer that folder to this machine and to sandboxes, read and write, root as root \
                 (`no_root_squash`), from any port (`insecure`); say --nas-server-here HOST[:PORT] if this machine \
                 reaches it by another name"
            .to_owned(),
    })
}

/// A kubeconfig that leads to the door and to nothing else.
fn write_kubeconfig(directory: &Path, server: &str) -> Result<PathBuf, LabError> {
    let path = directory.join("kubeconfig");
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "mountlab", "cluster": {"server": server}}],
        "users": [{"name": "mountlab", "user": {}}],
        "contexts": [{"name": "mountlab", "context": {"cluster": "mountlab", "user": "mountlab", "namespace": DEFAULT}}],
        "current-context": "mountlab",
    });
    let attempt = std::fs::create_dir_all(directory).and_then(|()| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(document.to_string().as_bytes())
    });
    attempt.map_err(|source| LabError::Io { action: format!("write {}", path.display()), source })?;
    Ok(path)
}
