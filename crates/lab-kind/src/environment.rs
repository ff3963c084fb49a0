//! All of it together: up, and down again.

use std::path::PathBuf;

use contract::injection::{AGENT_RUNTIME_IMAGE, CSI_AGENT_IMAGE};
use lab_cluster::SYSTEM_IMAGE;

use crate::cluster::{self, Cluster, KindProgram, LABEL, Lock, Names, Owner, owner_of};
use crate::command::find;
use crate::docker::{self, Choice, DaemonPolicy, Docker, OwnDaemon};
use crate::images::{Builder, Executables, GoBuilds, ImagePolicy, Images};
use crate::observer::{Event, Observer, Step};
use crate::storage::{Apart, Minio, NfsServer, Site, servers};
use crate::{Folders, KindError};
use crate::{lock, machine};

/// The names under which scenarios ask for the sandboxes' image: the product document's, later versions of it that
/// sandboxes are upgraded to, and short ones.
const SANDBOX_IMAGES: [&str; 5] = [
    "registry-cn-zhangjiakou-vpc.ack.aliyuncs.com/acs/code-interpreter:v1.6",
    "registry-cn-zhangjiakou-vpc.ack.aliyuncs.com/acs/code-interpreter:v1.7",
    "registry-cn-zhangjiakou-vpc.ack.aliyuncs.com/acs/code-interpreter:v1.8",
    "code-interpreter:v1.6",
    "python:3",
];

/// How the environment is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's name; names of its node, its network and its containers begin with it.
    pub name: String,
    /// Where everything is kept.
    pub folders: Folders,
    /// The executable that goes into images.
    pub executable: PathBuf,
    /// The executable that is an OCI runtime under the name [`crate::oci_runtime::OCI_RUNTIME`], for a daemon of our
    /// own: usually the same.
    pub oci_runtime: PathBuf,
    /// Which daemon may be used.
    pub daemon: DaemonPolicy,
    /// Where images may come from.
    pub images: ImagePolicy,
}

/// A cluster that is up, with storage servers beside it.
#[derive(Debug)]
pub struct Environment {
    docker: Docker,
    images: Images,
    cluster: Cluster,
    minio: Minio,
    nfs: NfsServer,
    apart: Apart,
    settings: Settings,
}

impl Environment {
    /// Brings it up: what is there and fits is taken, the rest made.
    ///
    /// # Errors
    /// [`KindError`] with what to do about it. Of a cluster that couldn't be made nothing is left; finished images are,
    /// for next time.
    pub async fn up(settings: Settings, observer: &dyn Observer) -> Result<Self, KindError> {
        check_name(&settings.name)?;
        machine::check_disk(&settings.folders)?;
        let Settings { name, folders, oci_runtime, daemon, .. } = &settings;
        // First of all: what fails after this takes the cluster down.
        let lock = Lock::take(name, folders)?;
        let docker = docker::choose(*daemon, folders, oci_runtime, observer).await?;
        match Box::pin(Self::on(&docker, lock, &settings, observer)).await {
            Ok((images, cluster, minio, nfs, apart)) => {
                Ok(Self { docker, images, cluster, minio, nfs, apart, settings })
            }
            Err(error) => {
                let removed = match Lock::take(name, folders) {
                    Ok(lock) => take_down(&docker, &lock, folders, observer).await,
                    Err(other) => Err(other),
                };
                if let Err(second) = removed {
                    observer
                        .notify(Event::Chosen(&format!("also, not everything could be removed: {second}")));
                }
                Err(error)
            }
        }
    }

    async fn on(
        docker: &Docker,
        right: Lock,
        settings: &Settings,
        observer: &dyn Observer,
    ) -> Result<(Images, Cluster, Minio, NfsServer, Apart), KindError> {
        let Settings { name, folders, executable, images, .. } = settings;
        // Before anything is built: a cluster that isn't ours would be in the way afterwards too.
        let folder = folders.root().join("clusters").join(name);
        if let Owner::Other(words) = owner_of(docker, &Names::of(name), &folder).await? {
            return Err(cluster::not_ours(name, &words));
        }
        let turn = lock::building(folders, observer).await?;
        let builds = GoBuilds::new(folders, observer);
        let builder = Builder::new(*images, docker, folders, observer).await?;
        let executables = Executables::new(executable.clone());
        let (program, images) =
            tokio::try_join!(KindProgram::ensure(&builds), builder.ensure(&executables, &builds))?;
        builds.sweep()?;
        drop(turn);
        let cluster = Cluster::up(right, &images.node, &program, docker, folders, observer).await?;
        let site = Site::of(&cluster, docker, &folders.id());
        let apart = Apart::new(site.clone(), &images);
        let (minio, nfs, ()) = tokio::try_join!(
            Minio::up(&site, &images.minio, observer),
            NfsServer::up(&site, &images.nfs, observer),
            apart.sweep(),
        )?;
        let step = Step::begin(observer, "loading images into the cluster");
        cluster.load(&[&images.mountlab, &images.csi_agent, &images.sandbox]).await?;
        tokio::try_join!(
            cluster.name_image(&images.mountlab, &[SYSTEM_IMAGE, AGENT_RUNTIME_IMAGE]),
            cluster.name_image(&images.csi_agent, &[CSI_AGENT_IMAGE]),
            cluster.name_image(&images.sandbox, &SANDBOX_IMAGES),
        )?;
        step.done();
        Ok((images, cluster, minio, nfs, apart))
    }

    /// The daemon.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The images, all of them in the node's container runtime but the node itself and the servers'. There they also have
    /// the names that `kind/manifests/`, the default `sandbox-injection-config` and scenarios ask for.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The object store.
    pub fn minio(&self) -> &Minio {
        &self.minio
    }

    /// The NFS server.
    pub fn nfs(&self) -> &NfsServer {
        &self.nfs
    }

    /// Storage servers for single labs.
    pub(crate) fn apart(&self) -> &Apart {
        &self.apart
    }

    /// Takes all of it down but finished images, and returns once it is gone. Dropping the value instead leaves it up,
    /// for the next run.
    ///
    /// # Errors
    /// [`KindError`] naming what could not be removed.
    pub async fn down(self, observer: &dyn Observer) -> Result<(), KindError> {
        let Self { docker, settings, cluster, .. } = self;
        let lock = cluster.into_lock();
        take_down(&docker, &lock, &settings.folders, observer).await
    }

    /// Takes down what an [`Self::up`] that was given up (its future dropped) has half done. A cluster that was made to
    /// its end, now or before, stays as it is.
    ///
    /// # Errors
    /// [`KindError`] naming what could not be removed.
    pub async fn abandon(settings: &Settings, observer: &dyn Observer) -> Result<(), KindError> {
        if cluster::is_complete(&folder_of(settings)) {
            return Ok(());
        }
        Self::remove(settings, observer).await
    }

    /// Takes down what a run of these settings left, if anything, without bringing anything up.
    ///
    /// # Errors
    /// [`KindError`] naming what could not be removed.
    pub async fn remove(settings: &Settings, observer: &dyn Observer) -> Result<(), KindError> {
        check_name(&settings.name)?;
        let lock = Lock::take(&settings.name, &settings.folders)?;
        let own = OwnDaemon::of(&settings.folders);
        if own.process().is_some() {
            let program = find("docker")
                .ok_or_else(|| KindError::machine("there is no docker program", "install it"))?;
            let docker = Docker::new(program, Some(own.host()), true);
            return take_down(&docker, &lock, &settings.folders, observer).await;
        }
        match docker::search(settings.daemon).await {
            Ok(Choice::Existing(docker)) => take_down(&docker, &lock, &settings.folders, observer).await,
            // A daemon of ours that has ended (the machine was started anew) still knows its containers.
            Ok(Choice::Start { program, .. }) if folder_of(settings).is_dir() => {
                let docker = own.start(&program, &settings.oci_runtime, observer).await?;
                take_down(&docker, &lock, &settings.folders, observer).await
            }
            // Without a daemon there is no container either; what a daemon of ours left goes with its folder.
            Ok(Choice::Start { .. }) | Err(KindError::Machine { .. }) => own.stop().await,
            Err(error) => Err(error),
        }
    }
}

/// The folder of a cluster's files.
fn folder_of(settings: &Settings) -> PathBuf {
    settings.folders.root().join("clusters").join(&settings.name)
}

/// Removes the containers, the network, the cluster, and a daemon of our own.
async fn take_down(
    docker: &Docker,
    lock: &Lock,
    folders: &Folders,
    observer: &dyn Observer,
) -> Result<(), KindError> {
    let names = Names::of(lock.name());
    let folder = folders.root().join("clusters").join(lock.name());
    let label = format!("label={LABEL}={}", folders.id());
    for server in servers(docker, lock.name(), &folders.id()).await? {
        docker.remove_container(&server).await?;
    }
    if matches!(owner_of(docker, &names, &folder).await?, Owner::Us { .. }) {
        let builds = GoBuilds::new(folders, observer);
        let program = KindProgram::ensure(&builds).await?;
        cluster::remove(&names, &program, docker, &folder, observer).await?;
    }
    let networks = docker
        .command("asking Docker for our networks")
        .args([
            "network",
            "ls",
            "--quiet",
            "--filter",
            &label,
            "--filter",
            &format!("name=^{}$", names.network),
        ])
        .output()
        .await?;
    cluster::close_network(docker, &names.network).await?;
    for network in networks.lines().map(str::trim).filter(|line| !line.is_empty()) {
        docker
            .command(format!("removing network {}", names.network))
            .args(["network", "rm", network])
            .output()
            .await?;
    }
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder).map_err(KindError::io("removing", &folder))?;
    }
    if docker.is_own() && nothing_else_runs(docker).await? {
        let step = Step::begin(observer, "ending our Docker daemon");
        OwnDaemon::of(folders).stop().await?;
        step.done();
    }
    Ok(())
}

/// Whether our daemon has no container left, of another cluster of ours.
async fn nothing_else_runs(docker: &Docker) -> Result<bool, KindError> {
    let said =
        docker.command("asking our Docker daemon for containers").args(["ps", "--quiet"]).output().await?;
    Ok(said.trim().is_empty())
}

/// A name becomes part of host names.
fn check_name(name: &str) -> Result<(), KindError> {
    let fits = name.len() <= 40
        && name.starts_with(|char: char| char.is_ascii_lowercase())
        && name.ends_with(|char: char| char.is_ascii_lowercase() || char.is_ascii_digit())
        && name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-');
    if fits {
        return Ok(());
    }
    Err(KindError::machine(
        format!("{name:?} can't be a cluster's name"),
        "use at most 40 lower-case letters, digits and dashes, beginning with a letter",
    ))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("mountlab", true)]
    #[case("lab-2", true)]
    #[case("", false)]
    #[case("-lab", false)]
    #[case("Lab", false)]
    #[case("lab-", false)]
    #[case("lab; rm", false)]
    fn names_of_clusters(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(check_name(name).is_ok(), expected);
    }
}
