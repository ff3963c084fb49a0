//! `mountlab controller`: the controller on a cluster.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clock::SystemClock;
use contract::names::{SYSTEM_NAMESPACE, drivers};
use contract::resolve::DriverList;
use kube::Client;
use runtime_client::RuntimeCertificates;

use crate::ControllerOptions;

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
    // a host program may have set up its own subscriber; that one stays
    let _ = tracing_subscriber::fmt().json().with_writer(std::io::stderr).try_init();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(arguments)),
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> ExitCode {
    let client = match Client::try_default().await {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "no access to a cluster: set KUBECONFIG or run in a pod");
            return ExitCode::FAILURE;
        }
    };
    let certificates = arguments.runtime_certificates.as_deref().map(RuntimeCertificates::read).transpose();
    let runtime_certificates = match certificates {
        Ok(certificates) => certificates,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, cause, "no client certificates for sandbox runtimes");
            return ExitCode::FAILURE;
        }
    };
    let options = ControllerOptions {
        namespace: arguments.namespace,
        drivers: DriverList::from_variable(Some(&arguments.drivers)),
        runtime_certificates,
        ..ControllerOptions::new(client, SystemClock::shared())
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespace = options.namespace, "controller starts");
    match Box::pin(crate::run(options)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, cause, "controller stopped");
            ExitCode::FAILURE
        }
    }
}
