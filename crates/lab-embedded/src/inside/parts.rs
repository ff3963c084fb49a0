//! Brings every component up in the order in which they need each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clock::{SharedClock, SimulatedClock};
use contract::names::SYSTEM_NAMESPACE;
use contract::names::csi_agent::OssMounter;
use futures::future::try_join_all;
use journal::{Journal, source};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta, PostParams};
use kube_sim::{Caller, KubeSim};
use lab::Listener;
use nas_sim::{NasOptions, NasSim};
use node_sim::{Node, NodeOptions};
use oss_sim::{OssOptions, OssSim};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::components::{Components, Plan};
use super::credentials::{Credentials, REGION};
use super::faults::{self, Faults};
use super::pages::MetricsPages;
use super::{Listeners, commands, forward, logs, send};
use crate::protocol::{Hello, Report, Up};

/// What the API server refuses at the door, as in a cluster.
const ADMISSION_POLICIES: &str = include_str!("../../../../kind/manifests/35-admission-policies.yaml");

/// Port of the object store on the lab's bridge.
const OBJECT_STORE_PORT: u16 = 9000;

/// Port on which the NFS server answers everything, on the lab's bridge, as Alibaba Cloud NAS does.
pub(crate) const NETWORK_FILE_SYSTEM_PORT: u16 = 2049;

/// Port of the port mapper, for clients that ask it.
const PORT_MAPPER_PORT: u16 = 111;

/// Where the lab's own files are: in memory, in its own mount namespace.
const STATE: &str = "/run/mountlab";

/// The folder among them that CSI agents read their faults from.
const FAULTS: &str = "faults";

/// What a running lab consists of.
pub(crate) struct Parts {
    /// The clock that a scenario moves.
    pub(crate) clock: SimulatedClock,
    /// Runs the pods.
    pub(crate) node: Node,
    /// The object store.
    pub(crate) object_store: OssSim,
    /// The NFS server.
    pub(crate) network_file_system: NasSim,
    /// The faults that were injected.
    pub(crate) faults: Faults,
    /// Controller and manager.
    pub(crate) components: Components,
    /// The journal.
    pub(crate) journal: Journal,
    /// Where the lab's files are.
    pub(crate) state: PathBuf,
}

/// A part that didn't come up.
pub(crate) struct Failed {
    /// Its name.
    pub(crate) part: &'static str,
    /// What happened, with its causes.
    pub(crate) reason: String,
}

/// Names the part that failed in whatever way.
pub(crate) fn failed<E: std::error::Error>(part: &'static str) -> impl Fn(E) -> Failed {
    move |error| Failed { part, reason: crate::chain(&error) }
}

/// Says in the journal how long each part took.
struct Phases<'a> {
    journal: &'a Journal,
    lab: &'a str,
    since: Instant,
}

impl Phases<'_> {
    fn passed(&mut self, phase: &str) {
        let milliseconds = self.since.elapsed().as_secs_f64() * 1000.0;
        self.journal.record(
            source::LAB,
            "phase",
            self.lab,
            json!({"phase": phase, "milliseconds": milliseconds}),
        );
        self.since = Instant::now();
    }
}

impl Parts {
    /// Brings everything up; the second value is what the outside has to know.
    pub(crate) async fn start(
        hello: &Hello,
        listeners: Listeners,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Result<(Self, Up), Failed> {
        let clock = SimulatedClock::default();
        let shared: SharedClock = Arc::new(clock.clone());
        let credentials = Credentials::draw();
        let journal = Journal::new(shared.clone());
        for secret in [&credentials.e2b_key, &credentials.access_key_id, &credentials.access_key_secret] {
            journal.guard(secret);
        }
        forward(&journal, reports.clone());
        let mut phases = Phases { journal: &journal, lab: &hello.name, since: Instant::now() };
        let state = make_state(Path::new(STATE)).map_err(failed("state directory"))?;

        let api = KubeSim::new(kube_sim::Options { clock: shared.clone(), journal: Some(journal.clone()) });
        install(&api.client("default")).await?;
        serve_api(&api, listeners.kubernetes, reports.clone());
        phases.passed("API server");

        let node = start_node(&api, &shared, &journal, &state, hello.oss_mounter).await?;
        api.set_pod_logs(Arc::new(logs::NodeLogs::new(node.clone(), shared.clone())));
        api.set_pod_commands(Arc::new(commands::NodeCommands::new(node.clone())));
        phases.passed("node");

        let object_store = OssSim::new(OssOptions {
            clock: shared.clone(),
            journal: Some(journal.clone()),
            directory: state.join("object-store"),
        });
        object_store.add_key(
            &credentials.access_key_id,
            &credentials.access_key_secret,
            oss_sim::Access::Full,
        );
        let inside =
            TcpListener::bind((node.gateway(), OBJECT_STORE_PORT)).await.map_err(failed("object store"))?;
        let object_store_inside = format!("http://{}:{OBJECT_STORE_PORT}", node.gateway());
        object_store.serve(listeners.object_store);
        object_store.serve(inside);
        phases.passed("object store");

        let network_file_system =
            start_network_file_system(&node, &shared, &journal, &state, listeners.network_file_system)
                .await?;
        phases.passed("NFS server");

        let e2b = listeners.e2b.into_std().and_then(Listener::new).map_err(failed("manager's address"))?;
        let pages = Arc::new(MetricsPages::default());
        let components = Components::start(Plan {
            api: api.clone(),
            clock: shared.clone(),
            journal: journal.clone(),
            e2b_key: credentials.e2b_key.clone(),
            e2b,
            pages: Arc::clone(&pages),
            reports,
        })?;
        api.set_service_pages(pages);
        phases.passed("controller and manager");

        let server = format!("https://{}", hello.listeners.kubernetes);
        let kubeconfig = api.kubeconfig(&server).map_err(failed("API server's certificate"))?;
        let up = Up {
            kubeconfig,
            e2b_key: credentials.e2b_key,
            object_store_inside,
            network_file_system_inside: node.gateway().to_string(),
            region: REGION.to_owned(),
            access_key_id: credentials.access_key_id,
            access_key_secret: credentials.access_key_secret,
        };
        let faults = Faults::new(state.join(FAULTS), journal.clone());
        let parts =
            Self { clock, node, object_store, network_file_system, faults, components, journal, state };
        Ok((parts, up))
    }
}

/// A file system in memory over `/run`: it hides the machine's own sockets, and it is gone with the lab.
fn make_state(state: &Path) -> std::io::Result<PathBuf> {
    let flags = rustix::mount::MountFlags::NODEV | rustix::mount::MountFlags::NOSUID;
    rustix::mount::mount("mountlab", "/run", "tmpfs", flags, Some(c"mode=0755"))?;
    for folder in ["node", "object-store", "network-file-system", FAULTS] {
        fs::create_dir_all(state.join(folder))?;
    }
    Ok(state.to_path_buf())
}

/// Serves the API to whoever is outside, until the lab ends.
fn serve_api(api: &KubeSim, listener: TcpListener, reports: mpsc::UnboundedSender<Report>) {
    let api = api.clone();
    tokio::spawn(async move {
        if let Err(error) = api.serve_https(listener).await {
            send(&reports, Report::Failed { part: "API server".to_owned(), reason: crate::chain(&error) });
        }
    });
}

/// What an installer would apply: the system namespace, the CRDs and the admission policies.
async fn install(client: &kube::Client) -> Result<(), Failed> {
    let namespace = Namespace {
        metadata: ObjectMeta { name: Some(SYSTEM_NAMESPACE.to_owned()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    let options = PostParams::default();
    Api::all(client.clone()).create(&options, &namespace).await.map_err(failed("system namespace"))?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definitions = contract::crd::all();
    try_join_all(definitions.iter().map(|definition| api.create(&options, definition)))
        .await
        .map_err(failed("custom resource definitions"))?;
    let objects: Vec<DynamicObject> =
        serde_saphyr::from_multiple(ADMISSION_POLICIES).map_err(failed("admission policies"))?;
    for object in &objects {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource_of(object));
        api.create(&options, object).await.map_err(failed("admission policies"))?;
    }
    Ok(())
}

/// The resource that a manifest's object belongs to.
fn resource_of(object: &DynamicObject) -> ApiResource {
    let types = object.types.clone().unwrap_or_default();
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind))
}

async fn start_node(
    api: &KubeSim,
    clock: &SharedClock,
    journal: &Journal,
    state: &Path,
    oss_mounter: OssMounter,
) -> Result<Node, Failed> {
    let executable = std::env::current_exe().map_err(failed("own executable"))?;
    let mut options = NodeOptions::new(
        api.client_as(&Caller::node(node_sim::NODE_NAME), "default"),
        clock.clone(),
        journal.clone(),
        state.join("node"),
        executable,
    );
    options.network.callers = callers();
    options.catalogue.additions = faults::images(&state.join(FAULTS), oss_mounter);
    Node::start(options).await.map_err(failed("node"))
}

/// Manager, gateway and controller run in this process; ingress rules of network policies know them by the labels that
/// their pods have in a cluster.
fn callers() -> Vec<(String, BTreeMap<String, String>)> {
    [
        [("component", "sandbox-manager"), ("app.kubernetes.io/name", "sandbox-manager")],
        [("component", "sandbox-manager"), ("app.kubernetes.io/name", "sandbox-gateway")],
        [("control-plane", "sandbox-controller-manager"), ("app.kubernetes.io/name", "sandbox-operator")],
    ]
    .map(|labels| {
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        (SYSTEM_NAMESPACE.to_owned(), BTreeMap::from(labels))
    })
    .into()
}

/// An NFS server without exports, on the bridge for pods and on the outside's listener.
async fn start_network_file_system(
    node: &Node,
    clock: &SharedClock,
    journal: &Journal,
    state: &Path,
    outside: TcpListener,
) -> Result<NasSim, Failed> {
    let directory = state.join("network-file-system");
    let server = NasSim::new(NasOptions { clock: clock.clone(), journal: Some(journal.clone()), directory });
    for port in [NETWORK_FILE_SYSTEM_PORT, PORT_MAPPER_PORT] {
        server.serve(TcpListener::bind((node.gateway(), port)).await.map_err(failed("NFS server"))?);
    }
    server.serve_without_faults(outside);
    Ok(server)
}
