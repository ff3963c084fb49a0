//! A CSI node agent outside of any lab, so that what is measured is the mount and nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use contract::names::POD_UID_CONTEXT_KEY;
use csi_api::node_client::NodeClient;
use csi_api::volume_capability::access_mode::Mode;
use csi_api::volume_capability::{AccessMode, AccessType, MountVolume};
use csi_api::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability};
use hyper_util::rt::TokioIo;
use lab::ObjectStore;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::BenchError;
use crate::error::io;

/// What is mounted.
pub(crate) struct Volume {
    context: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    options: Vec<String>,
}

impl Volume {
    /// A bucket, in the product's names.
    pub(crate) fn bucket(store: &ObjectStore, bucket: &str) -> Self {
        Self {
            context: owned(&[("bucket", bucket), ("url", &store.outside_endpoint)]),
            secrets: owned(&[("akId", &store.access_key_id), ("akSecret", &store.access_key_secret)]),
            options: Vec::new(),
        }
    }

    /// An export of an NFS server, with the mount options of the product document's example.
    pub(crate) fn export(server: IpAddr, path: &str) -> Self {
        Self {
            context: owned(&[
                ("server", &server.to_string()),
                ("path", path),
                (POD_UID_CONTEXT_KEY, "bench"),
            ]),
            secrets: BTreeMap::new(),
            options: ["nolock,tcp,noresvport", "vers=3"].map(str::to_owned).into(),
        }
    }
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The agent's process; it ends, and its mounts with it, when this is dropped.
pub(crate) struct Agent {
    child: Child,
    node: NodeClient<Channel>,
    folder: tempfile::TempDir,
}

impl Agent {
    /// Starts the agent that `program` holds, for one driver, and waits until it answers.
    pub(crate) async fn start(program: &Path, driver: &str, more: &[&str]) -> Result<Self, BenchError> {
        let folder = tempfile::tempdir().map_err(io("make a folder for the agent"))?;
        let sockets = folder.path().join("sockets");
        let log = File::create(folder.path().join("log")).map_err(io("make the agent's log"))?;
        // In a mount namespace of its own: one that somebody else makes meanwhile would take the mounts along, and
        // they would not end with the unmount.
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(program)
            .args(["csi-node", "serve", "--socket-dir"])
            .arg(&sockets)
            .args(["--driver", driver])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(io(format!("run {}", program.display())))?;
        let mut wait = Command::new(program);
        wait.args(["csi-node", "wait", "--driver", driver, "--socket-dir"]).arg(&sockets);
        let waited = wait.status().map_err(io("wait for the agent"))?;
        if !waited.success() {
            let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            return Err(BenchError::Agent { action: "start", reason: log });
        }
        let socket = sockets.join(driver).join("csi.sock");
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://csi.sock").connect_with_connector(connector).await;
        let channel = channel.map_err(|error| failed("connect to")(&error))?;
        Ok(Self { child, node: NodeClient::new(channel), folder })
    }

    /// Mounts `volume`; where, and how long it took, in milliseconds.
    pub(crate) async fn mount(&self, volume: &Volume, name: &str) -> Result<(PathBuf, f64), BenchError> {
        let target = self.folder.path().join(name);
        let mount = MountVolume { mount_flags: volume.options.clone(), ..MountVolume::default() };
        let request = NodePublishVolumeRequest {
            volume_id: name.to_owned(),
            target_path: target.display().to_string(),
            volume_capability: Some(VolumeCapability {
                access_type: Some(AccessType::Mount(mount)),
                access_mode: Some(AccessMode { mode: Mode::MultiNodeMultiWriter.into() }),
            }),
            secrets: volume.secrets.clone(),
            volume_context: volume.context.clone(),
            ..NodePublishVolumeRequest::default()
        };
        let begun = Instant::now();
        let published = self.node.clone().node_publish_volume(request).await;
        published.map_err(|status| failed("mount with")(&status))?;
        Ok((target, begun.elapsed().as_secs_f64() * 1000.0))
    }

    /// `target` as it is reached from outside of the agent's mount namespace.
    pub(crate) fn outside(&self, target: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        root.join(target.strip_prefix("/").unwrap_or(target))
    }

    /// Unmounts what is at `target`.
    pub(crate) async fn unmount(&self, target: &Path) -> Result<(), BenchError> {
        let request = NodeUnpublishVolumeRequest {
            volume_id: "any".to_owned(),
            target_path: target.display().to_string(),
        };
        let unpublished = self.node.clone().node_unpublish_volume(request).await;
        unpublished.map(drop).map_err(|status| failed("unmount with")(&status))
    }

    /// The memory that the process has to itself now, in mebibytes.
    pub(crate) fn memory(&self) -> Result<f64, BenchError> {
        let file = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(&file).map_err(io(format!("read {file}")))?;
        let kibibytes = text
            .lines()
            .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kibibytes
            .map(|kibibytes| kibibytes / 1024.0)
            .ok_or_else(|| BenchError::Agent { action: "measure", reason: format!("{file} has no Pss") })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let process = i32::try_from(self.child.id()).map(nix::unistd::Pid::from_raw);
        // On SIGTERM it unmounts what it has mounted.
        let told = process
            .is_ok_and(|process| nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).is_ok());
        if !told {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn failed(action: &'static str) -> impl Fn(&dyn std::error::Error) -> BenchError {
    move |error| BenchError::Agent { action, reason: error.to_string() }
}
