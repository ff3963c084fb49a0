//! `mountlab controller`: the controller on a cluster.

use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clock::SystemClock;
use contract::names::{SYSTEM_NAMESPACE, drivers};
use contract::resolve::DriverList;
use kube::Client;
use prometheus_client::registry::Registry;
use runtime_client::RuntimeCertificates;
use service::{Election, ElectionError, LeaderOptions, ListenError, LogOptions, ProbeOptions, Probes};

use crate::sandbox::RecyclingLimits;
use crate::{ControllerOptions, LabelAllowList, Metrics};

/// Keeps the pools of `SandboxSets` filled and turns Sandboxes into pods.
#[derive(Debug, Parser)]
#[command(name = "controller", version)]
struct Arguments {
    /// Namespace of ConfigMap sandbox-injection-config.
    #[arg(long, env = "POD_NAMESPACE", default_value = SYSTEM_NAMESPACE)]
    namespace: String,
    /// Storage drivers that may mount, comma-separated; the two product drivers when empty.
    #[arg(long, env = drivers::LIST_VARIABLE, default_value = "")]
    drivers: String,
    /// Folder with ca.crt, client.crt and client.key for sandboxes that serve their runtime over TLS.
    #[arg(long)]
    runtime_certificates: Option<PathBuf>,
    /// How long a sandbox may take to get a new pod when it is recycled, such as 60s; then it is deleted.
    #[arg(long, default_value = "60s", value_parser = go_duration)]
    recycle_timeout: Duration,
    /// How long the new pod of a recycled sandbox is ready before it can be claimed.
    #[arg(long, default_value = "10s", value_parser = go_duration)]
    recycle_grace_period: Duration,
    /// Labels that the metrics show of each sandbox, comma-separated, such as app,team; none when empty.
    #[arg(long, value_name = "KEYS", default_value = "")]
    metric_labels_allowlist: LabelAllowList,
    #[command(flatten)]
    log: LogOptions,
    #[command(flatten)]
    probes: ProbeOptions,
    #[command(flatten)]
    leader: LeaderOptions,
    /// Name of this replica in the election.
    #[arg(long, env = "POD_NAME", default_value = "controller")]
    identity: String,
}

fn go_duration(text: &str) -> Result<Duration, String> {
    let parsed = contract::duration::parse(text).and_then(|parsed| Duration::try_from(parsed).ok());
    parsed.ok_or_else(|| "a length of time such as 60s or 1m30s is needed".to_owned())
}

/// The Lease by which replicas elect a leader (`kubernetes.md` §9.2).
const LEASE: &str = "f57b9a68.kruise.io";

/// The version in the log.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why the controller doesn't run, or runs no more.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("no access to a cluster: set KUBECONFIG or run in a pod")]
    NoCluster(#[source] Box<kube::Error>),
    #[error("cannot read the client certificates for sandbox runtimes")]
    Certificates(#[source] runtime_client::RuntimeSetupError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Election(#[from] ElectionError),
    #[error("another replica leads now: this one starts again as one that waits")]
    LeadLost,
    #[error("the controller stopped")]
    Stopped(#[from] crate::Error),
}

/// Runs the controller with the cluster access of its environment (in-cluster or kubeconfig). `arguments[0]` is the
/// program's name.
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
            tracing::error!(error = chain(&error), "controller stopped");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), CommandError> {
    let mut stop = std::pin::pin!(service::told_to_stop());
    let metrics = Metrics::with_labels(arguments.metric_labels_allowlist);
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let probes = Probes::begin(&arguments.probes, "controller", VERSION, registry).await?;
    let client = Client::try_default().await.map_err(|error| CommandError::NoCluster(Box::new(error)))?;
    let clock = SystemClock::shared();
    let certificates = arguments.runtime_certificates.as_deref().map(RuntimeCertificates::read).transpose();
    let options = ControllerOptions {
        namespace: arguments.namespace,
        drivers: DriverList::from_variable(Some(&arguments.drivers)),
        runtime_certificates: certificates.map_err(CommandError::Certificates)?,
        recycling: RecyclingLimits {
            timeout: arguments.recycle_timeout,
            grace: arguments.recycle_grace_period,
        },
        journal: arguments.log.journal(clock.clone()),
        metrics,
        ..ControllerOptions::new(client.clone(), clock)
    };
    if arguments.leader.leader_elect {
        let namespace = &arguments.leader.leader_elect_namespace;
        let election = Election::join(client, namespace, LEASE, &arguments.identity).await?;
        return lead(options, &probes, election, &arguments.identity, stop).await;
    }
    tracing::info!(version = VERSION, namespace = options.namespace, "controller starts");
    probes.set_ready(true);
    tokio::select! {
        ended = Box::pin(crate::run(options)) => Ok(ended?),
        () = &mut stop => Ok(()),
    }
}

/// Works once this replica leads, until it doesn't any more or is told to stop.
async fn lead(
    options: ControllerOptions,
    probes: &Probes,
    mut election: Election,
    identity: &str,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), CommandError> {
    // Who waits for the lead is ready: it takes over at once.
    probes.set_ready(true);
    tracing::info!(version = VERSION, identity, lease = LEASE, "controller waits for the lead");
    let won = tokio::select! {
        () = election.won() => true,
        () = &mut stop => false,
    };
    if won {
        probes.set_leads(true);
        tracing::info!(version = VERSION, identity, namespace = options.namespace, "controller leads");
        tokio::select! {
            ended = Box::pin(crate::run(options)) => ended?,
            () = election.lost() => return Err(CommandError::LeadLost),
            () = stop => {}
        }
    }
    tracing::info!(identity, "controller ends: it was told to");
    election.leave().await;
    Ok(())
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
