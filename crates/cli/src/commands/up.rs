//! `mountlab up`: a lab to work with by hand.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use clock::SystemClock;
use lab::{Access, ExportCall, ExportOptions, ExportReply, Lab, Sharing, UpOptions};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Format, Up};
use crate::backends;
use crate::exit::Status;

/// How long a lab may take to come up.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Brings a lab up, prints how to reach it, and takes it down again on Ctrl-C.
pub(crate) fn run(arguments: &Up) -> anyhow::Result<Status> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(stay(arguments))
}

async fn stay(arguments: &Up) -> anyhow::Result<Status> {
    // Listening for the signals before anything is up: a Ctrl-C during the start ends the lab as well.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let folder = tempfile::Builder::new().prefix("mountlab-up-").tempdir()?;
    let backend = backends::get(arguments.backend, &arguments.cluster, false, arguments.oss_mounter)?;
    backend.check().await?;
    let options = UpOptions {
        name: "up".to_owned(),
        seed: rand::random(),
        directory: folder.path().to_path_buf(),
        deadline: START_DEADLINE,
        needed: Vec::new(),
        sharing: Sharing::of_everything(),
    };
    let lab = tokio::select! {
        lab = backend.up(options) => lab?,
        _ = interrupt.recv() => return Ok(Status::Held),
        _ = terminate.recv() => return Ok(Status::Held),
    };
    let offered = offer(lab.as_ref(), arguments, folder.path()).await;
    if offered.is_ok() {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    let down = lab.down().await;
    let finished = backend.finish().await;
    // What went wrong first is what counts.
    offered?;
    down?;
    finished?;
    Ok(Status::Held)
}

/// Fills the lab and tells how it is reached.
async fn offer(lab: &dyn Lab, arguments: &Up, folder: &Path) -> anyhow::Result<()> {
    make_buckets(lab, &arguments.bucket).await?;
    make_exports(lab, &arguments.export).await?;
    print(lab.access(), arguments.output.format, folder)
}

async fn make_buckets(lab: &dyn Lab, buckets: &[String]) -> anyhow::Result<()> {
    let Some(store) = &lab.access().object_store else {
        anyhow::ensure!(buckets.is_empty(), "--bucket: this backend has no object store of its own");
        return Ok(());
    };
    for bucket in buckets {
        scenario::create_bucket(store, bucket, SystemClock::shared()).await?;
    }
    Ok(())
}

async fn make_exports(lab: &dyn Lab, exports: &[String]) -> anyhow::Result<()> {
    for path in exports {
        let call = ExportCall::Export { path: path.clone(), options: ExportOptions::default() };
        if let ExportReply::Refused { code, message } = lab.at_exports(call).await? {
            anyhow::bail!("--export {path}: {code}: {message}");
        }
    }
    Ok(())
}

fn print(access: &Access, format: Format, folder: &Path) -> anyhow::Result<()> {
    let variables = variables(access);
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => {
            let members = variables.into_iter().map(|(name, value)| (name.to_owned(), json!(value)));
            writeln!(out, "{}", serde_json::Value::Object(members.collect()))?;
        }
        Format::Text => {
            for (name, value) in variables {
                writeln!(out, "export {name}={value}")?;
            }
        }
    }
    out.flush()?;
    eprintln!("the lab is up; its log is {}; Ctrl-C takes it down", folder.join("lab.log").display());
    Ok(())
}

fn variables(access: &Access) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("E2B_API_URL", access.e2b_url.clone()),
        ("E2B_SANDBOX_URL", access.e2b_url.clone()),
        ("E2B_API_KEY", access.e2b_key.clone()),
        ("E2B_DOMAIN", access.e2b_domain.clone()),
        ("KUBECONFIG", access.kubeconfig.display().to_string()),
    ];
    if let Some(store) = &access.object_store {
        variables.extend([
            ("OSS_ENDPOINT", store.outside_endpoint.clone()),
            ("OSS_ENDPOINT_INSIDE", store.inside_endpoint.clone()),
            ("OSS_REGION", store.region.clone()),
            ("OSS_ACCESS_KEY_ID", store.access_key_id.clone()),
            ("OSS_ACCESS_KEY_SECRET", store.access_key_secret.clone()),
        ]);
    }
    if let Some(server) = &access.network_file_system {
        variables.extend([
            ("NAS_SERVER", server.outside_address.ip().to_string()),
            ("NAS_PORT", server.outside_address.port().to_string()),
            ("NAS_MOUNT_PORT", server.outside_mount_port.to_string()),
            ("NAS_PATH_PREFIX", server.path_prefix.clone()),
            ("NAS_SERVER_INSIDE", server.inside_server.clone()),
        ]);
    }
    variables
}
