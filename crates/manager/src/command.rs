//! `mountlab manager`: the manager on a cluster.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use clap::Parser;
use clock::SystemClock;
use contract::names::drivers;
use contract::resolve::DriverList;
use futures::FutureExt as _;
use kube::Client;
use prometheus_client::registry::Registry;
use service::{Election, ElectionError, LeaderOptions, LogOptions, ProbeOptions, Probes};
use tokio::net::TcpListener;

use crate::{Manager, ManagerOptions, Metrics, RuntimeCertificates};

/// Environment variable with the admin key. There is no flag for it: arguments are readable by everybody.
const ADMIN_KEY: &str = "E2B_ADMIN_KEY";

/// How long open connections may go on once the process is asked to end; some streams never end by themselves.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// How long giving the Lease back may take.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// Serves the E2B API and the way to the sandboxes' ports. The operator's API key is read from `E2B_ADMIN_KEY`.
#[derive(Debug, Parser)]
#[command(name = "manager", version)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Base domain of sandboxes, HOST or HOST:PORT; taken from each request when not given.
    #[arg(long, env = "E2B_DOMAIN")]
    domain: Option<String>,
    /// Namespace in which the admin team's templates are looked for first.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// Storage drivers that may mount, comma-separated; the two product drivers when empty.
    #[arg(long, env = drivers::LIST_VARIABLE, default_value = "")]
    drivers: String,
    /// Refuse every request that asks for a mount.
    #[arg(long)]
    no_mounts: bool,
    /// How long the mounts of one create may take together, in seconds.
    #[arg(long, default_value_t = 50)]
    mount_deadline: u64,
    /// How long a request waits for a pause to be complete, in seconds.
    #[arg(long, default_value_t = 50)]
    pause_limit: u64,
    /// How long a request waits for a woken sandbox to be ready, its mounts among it, in seconds.
    #[arg(long, default_value_t = 50)]
    resume_limit: u64,
    /// How long a request waits for a snapshot that says nothing of it, in seconds.
    #[arg(long, default_value_t = 50)]
    snapshot_limit: u64,
    /// Shortest timeout of a sandbox that is woken up, in seconds.
    #[arg(long, default_value_t = 300)]
    resume_floor: u64,
    /// Let everybody in without a key.
    #[arg(long)]
    no_authentication: bool,
    /// Ask for the sandbox's access token at the gateway too.
    #[arg(long)]
    gateway_checks_token: bool,
    /// Folder with ca.crt, client.crt and client.key for sandboxes that serve TLS.
    #[arg(long)]
    runtime_certificates: Option<PathBuf>,
    #[command(flatten)]
    log: LogOptions,
    #[command(flatten)]
    probes: ProbeOptions,
    #[command(flatten)]
    leader: LeaderOptions,
    /// Name of this replica in the election.
    #[arg(long, env = "POD_NAME", default_value = "manager")]
    identity: String,
}

/// The Lease by which replicas elect the one that collects abandoned claims. Every replica answers requests.
const LEASE: &str = "sandbox-manager";

/// Why the manager can't run.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("no access to a cluster: set KUBECONFIG or run in a pod")]
    NoCluster(#[source] Box<kube::Error>),
    #[error("cannot read the client certificates for sandbox runtimes")]
    Certificates(#[source] runtime_client::RuntimeSetupError),
    #[error("cannot set up the manager")]
    Setup(#[from] crate::SetupError),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot serve any more")]
    Serve(#[source] std::io::Error),
    #[error(transparent)]
    Probes(#[from] service::ListenError),
    #[error(transparent)]
    Election(#[from] ElectionError),
}

/// Runs the manager with the cluster access of its environment (in-cluster or kubeconfig) until it is told to stop.
/// `arguments[0]` is the program's name.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // help and version count as errors here and end with 0
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    arguments.log.begin();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, cause, "manager stopped");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), CommandError> {
    let address = arguments.listen;
    let stop = service::told_to_stop().shared();
    let metrics = Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let probes = Probes::begin(&arguments.probes, "manager", env!("CARGO_PKG_VERSION"), registry).await?;
    let client = Client::try_default().await.map_err(|error| CommandError::NoCluster(Box::new(error)))?;
    let election = if arguments.leader.leader_elect {
        let namespace = &arguments.leader.leader_elect_namespace;
        Some(Election::join(client.clone(), namespace, LEASE, &arguments.identity).await?)
    } else {
        None
    };
    let manager = Manager::new(ManagerOptions { metrics, ..options(arguments, client)? })?;
    let _background = manager.watch();
    let listener =
        TcpListener::bind(address).await.map_err(|source| CommandError::Listen { address, source })?;
    // answers are small and awaited one by one: they must not wait for company
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %address, "manager starts");
    let serving = axum::serve(listener, manager.router()).with_graceful_shutdown(stop.clone());
    let drained = async {
        stop.clone().await;
        tokio::time::sleep(DRAIN_LIMIT).await;
    };
    let served = async {
        tokio::select! {
            served = serving => served.map_err(CommandError::Serve),
            () = drained => Ok(()),
        }
    };
    let attended = async {
        attend(&manager, &probes, election, stop.clone()).await;
        Ok(())
    };
    tokio::try_join!(served, attended).map(drop)
}

/// Says when the manager is ready, and collects abandoned claims whenever this replica leads, until `stop` completes.
/// Then somebody else can lead at once.
async fn attend(
    manager: &Manager,
    probes: &Probes,
    mut election: Option<Election>,
    stop: impl Future<Output = ()>,
) {
    tokio::select! {
        () = work(manager, probes, election.as_mut()) => {}
        () = stop => {}
    }
    probes.set_ready(false);
    if let Some(election) = election
        && tokio::time::timeout(LEAVE_LIMIT, election.leave()).await.is_err()
    {
        tracing::warn!(lease = LEASE, "the Lease was not given back in time: it runs out by itself");
    }
}

async fn work(manager: &Manager, probes: &Probes, election: Option<&mut Election>) {
    while let Err(error) = manager.ready().await {
        tracing::warn!(error = error.message, "not ready yet");
    }
    probes.set_ready(true);
    let Some(election) = election else {
        manager.collect_abandoned().await;
        return;
    };
    loop {
        election.won().await;
        tracing::info!(lease = LEASE, "this replica collects abandoned claims");
        probes.set_leads(true);
        tokio::select! {
            () = manager.collect_abandoned() => {}
            () = election.lost() => tracing::info!(lease = LEASE, "another replica collects abandoned claims"),
        }
        probes.set_leads(false);
    }
}

fn options(arguments: Arguments, client: Client) -> Result<ManagerOptions, CommandError> {
    let clock = SystemClock::shared();
    let mut options = ManagerOptions::new(client, clock.clone());
    options.journal = arguments.log.journal(clock);
    if let Ok(key) = std::env::var(ADMIN_KEY) {
        options.admin_key = key;
    } else {
        tracing::warn!("{ADMIN_KEY} is not set: the admin key is random and nobody knows it");
    }
    options.authentication = !arguments.no_authentication;
    options.domain = arguments.domain;
    options.default_namespace = arguments.namespace;
    options.drivers = DriverList::from_variable(Some(&arguments.drivers));
    options.mounts_allowed = !arguments.no_mounts;
    options.mount_deadline = Duration::from_secs(arguments.mount_deadline);
    options.pause_limit = Duration::from_secs(arguments.pause_limit);
    options.resume_limit = Duration::from_secs(arguments.resume_limit);
    options.snapshot_limit = Duration::from_secs(arguments.snapshot_limit);
    options.resume_floor = Duration::from_secs(arguments.resume_floor);
    options.gateway_checks_token = arguments.gateway_checks_token;
    options.runtime_certificates = arguments
        .runtime_certificates
        .as_deref()
        .map(RuntimeCertificates::read)
        .transpose()
        .map_err(CommandError::Certificates)?;
    Ok(options)
}
