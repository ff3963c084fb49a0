//! Which backends this program has.

use std::env::VarError;
use std::sync::Arc;

use anyhow::Context as _;
use clock::SystemClock;
use contract::names::csi_agent::{OSS_MOUNTER_VARIABLE, OssMounter};
use contract::names::{INJECTION_CONFIG, RUNTIME_CSI};
use lab::Backend;
use lab_cluster::{ClusterOptions, NasOptions, StoreOptions};
use lab_embedded::Embedded;

use crate::arguments::{BackendName, Cluster, OssMounterName};
use crate::nas_server::NasServerHere;
use crate::steps::Steps;

/// The backend of that name; `cluster` says which cluster, where one is needed; `keep` leaves a cluster of our own up;
/// `mounter` says what mounts OSS volumes, if that was said.
///
/// # Errors
/// When options are missing, or there are some that this backend can't follow, or the path of this very executable can't be
/// read: labs are started from it.
pub(crate) fn get(
    name: BackendName,
    cluster: &Cluster,
    keep: bool,
    mounter: Option<OssMounterName>,
) -> anyhow::Result<Box<dyn Backend>> {
    let oss_mounter = mounter.map_or(OssMounter::default(), OssMounter::from);
    match name {
        BackendName::Embedded => Ok(Box::new(embedded()?.with_oss_mounter(oss_mounter))),
        BackendName::Kind => {
            let settings = lab_kind::Settings {
                name: "mountlab".to_owned(),
                folders: lab_kind::Folders::of_user().map_err(lab::LabError::from)?,
                executable: std::env::current_exe()?,
                oci_runtime: std::env::current_exe()?,
                daemon: lab_kind::DaemonPolicy::Auto,
                images: lab_kind::ImagePolicy::Auto,
            };
            let observer = Arc::new(Steps::new());
            let backend = lab_kind::Kind::new(settings, keep, SystemClock::shared(), observer);
            Ok(Box::new(backend.with_oss_mounter(oss_mounter)))
        }
        BackendName::Cluster => {
            anyhow::ensure!(
                mounter.is_none(),
                "--oss-mounter: the system of --backend cluster is somebody else's, and so is what its CSI agents mount with; \
                 where the agent is ours, its administrator can set {OSS_MOUNTER_VARIABLE} in the entry {RUNTIME_CSI} of \
                 ConfigMap {INJECTION_CONFIG}",
            );
            let options = cluster_options(cluster)?;
            Ok(Box::new(lab_cluster::Cluster::new(options, SystemClock::shared())))
        }
    }
}

/// The embedded backend.
///
/// # Errors
/// When the path of this very executable can't be read.
pub(crate) fn embedded() -> std::io::Result<Embedded> {
    Ok(Embedded::new(std::env::current_exe()?, SystemClock::shared()))
}

fn cluster_options(cluster: &Cluster) -> anyhow::Result<ClusterOptions> {
    let allowed_context = cluster.allow_context.clone().context(
        "--backend cluster makes objects on somebody's cluster: say which by --allow-context NAME, the kubeconfig's \
         current context",
    )?;
    Ok(ClusterOptions {
        kubeconfig: cluster.kubeconfig.clone().context("--backend cluster needs --kubeconfig FILE")?,
        allowed_context,
        e2b_url: cluster.e2b_url.clone().context("--backend cluster needs --e2b-url URL")?,
        e2b_key: cluster
            .e2b_key
            .clone()
            .context("--backend cluster needs the operator's key: --e2b-key KEY or E2B_ADMIN_KEY")?,
        small_requests: cluster.small_requests,
        object_store: store_options(cluster)?,
        network_file_system: nas_options(cluster),
        network_policies: !cluster.no_network_policies,
        powers: None,
    })
}

fn nas_options(cluster: &Cluster) -> Option<NasOptions> {
    let server = cluster.nas_server.clone()?;
    let here = cluster.nas_server_here.clone().unwrap_or_else(|| NasServerHere::same_as(&server));
    Some(NasOptions {
        inside_server: server.host,
        folder: server.export.trim_end_matches('/').to_owned(),
        outside_host: here.host,
        outside_port: here.port,
        outside_folder: server.export,
    })
}

fn store_options(cluster: &Cluster) -> anyhow::Result<Option<StoreOptions>> {
    let Some(inside_endpoint) = cluster.oss_endpoint.clone() else { return Ok(None) };
    let key = |name: &'static str| -> Result<String, anyhow::Error> {
        std::env::var(name).map_err(|error| match error {
            VarError::NotPresent => anyhow::anyhow!("--oss-endpoint needs {name} in the environment"),
            VarError::NotUnicode(_) => anyhow::anyhow!("{name} in the environment is no text"),
        })
    };
    Ok(Some(StoreOptions {
        outside_endpoint: cluster.oss_endpoint_here.clone().unwrap_or_else(|| inside_endpoint.clone()),
        inside_endpoint,
        region: cluster.oss_region.clone(),
        access_key_id: key("OSS_ACCESS_KEY_ID")?,
        access_key_secret: key("OSS_ACCESS_KEY_SECRET")?,
    }))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::arguments::{Arguments, Verb};

    #[test]
    fn the_mounter_of_somebody_elses_cluster_is_not_ours_to_choose() {
        let arguments = ["mountlab", "run", "--backend", "cluster", "--oss-mounter", "s3fs"];
        let Verb::Run(run) = Arguments::parse_from(arguments).verb else { panic!("another verb") };
        let refused = get(run.backend, &run.cluster, run.keep, run.oss_mounter).map(|backend| backend.name());
        let message = refused.expect_err("refused").to_string();
        for phrase in ["--oss-mounter", "somebody else's", "MOUNTLAB_OSS_MOUNTER", "sandbox-injection-config"]
        {
            assert!(message.contains(phrase), "{phrase} is not in {message}");
        }
    }
}
