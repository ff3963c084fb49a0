//! `mountlab kind`: the cluster of the kind backend, by hand.

use std::io::Write as _;

use lab_kind::{Environment, Settings};
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Kind, KindAction};
use crate::exit::Status;
use crate::steps::Steps;

/// Brings the cluster up and leaves it, or takes it down.
pub(crate) fn run(arguments: &Kind) -> anyhow::Result<Status> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(act(arguments))
}

async fn act(arguments: &Kind) -> anyhow::Result<Status> {
    let steps = Steps::new();
    let settings = Settings {
        name: arguments.name.clone(),
        folders: lab_kind::Folders::of_user().map_err(lab::LabError::from)?,
        executable: std::env::current_exe()?,
        oci_runtime: std::env::current_exe()?,
        daemon: arguments.daemon.into(),
        images: arguments.images.into(),
    };
    let work = async {
        match arguments.action {
            KindAction::Up => {
                let environment =
                    Environment::up(settings.clone(), &steps).await.map_err(lab::LabError::from)?;
                print(&environment).await
            }
            KindAction::Down => {
                Ok(Environment::remove(&settings, &steps).await.map_err(lab::LabError::from)?)
            }
        }
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let outcome = tokio::select! {
        outcome = work => Some(outcome),
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| None)?,
        _ = terminate.recv() => None,
    };
    if let Some(outcome) = outcome {
        return outcome.map(|()| Status::Held);
    }
    Environment::abandon(&settings, &steps).await.map_err(lab::LabError::from)?;
    anyhow::bail!("interrupted: half a cluster is removed, images that were finished stay for next time")
}

async fn print(environment: &Environment) -> anyhow::Result<()> {
    let cluster = environment.cluster();
    let (minio, images) = (environment.minio(), environment.images());
    let door = cluster.door().await.map_err(lab::LabError::from)?;
    let mut variables = vec![
        ("KUBECONFIG", cluster.kubeconfig().display().to_string()),
        ("KIND_NODE", cluster.node()),
        ("KIND_DOOR", format!("http://{door}")),
        ("OSS_ENDPOINT", minio.outside_endpoint().to_owned()),
        ("OSS_ENDPOINT_INSIDE", minio.inside_endpoint().to_owned()),
        ("OSS_ACCESS_KEY_ID", minio.access_key_id().to_owned()),
        ("OSS_ACCESS_KEY_SECRET", minio.access_key_secret().to_owned()),
        ("NAS_SERVER_INSIDE", environment.nfs().address().to_owned()),
        ("MOUNTLAB_IMAGE", images.mountlab.clone()),
        ("CSI_AGENT_IMAGE", images.csi_agent.clone()),
        ("SANDBOX_IMAGE", images.sandbox.clone()),
    ];
    if let Some(host) = environment.docker().host() {
        variables.insert(1, ("DOCKER_HOST", host.to_owned()));
    }
    let mut out = std::io::stdout().lock();
    for (name, value) in variables {
        writeln!(out, "export {name}={value}")?;
    }
    out.flush()?;
    eprintln!("the cluster stays; mountlab kind down takes it down");
    Ok(())
}
