//! An NFS server with one export, and an agent that mounts it.

use std::fmt::Debug;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clock::SystemClock;
use csi_api::volume_capability::access_mode::Mode;
use csi_api::volume_capability::{AccessMode, AccessType, MountVolume};
use csi_api::{NodePublishVolumeRequest, VolumeCapability};
use lab::NasFault;
use nas_sim::{ExportOptions, FaultId, NasOptions, NasSim};
use tokio::net::TcpListener;

use crate::common::{Agent, LIMIT};

pub const NAS: &str = "nasplugin.csi.alibabacloud.com";
/// The path that is exported.
pub const EXPORT: &str = "/share";

/// A server, its port, and the folder that it exports.
pub struct Nas {
    pub sim: NasSim,
    pub port: u16,
    pub folder: PathBuf,
    _directory: tempfile::TempDir,
}

impl Nas {
    pub async fn start() -> Self {
        Self::start_with(ExportOptions::default()).await
    }

    pub async fn start_with(export: ExportOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let sim = NasSim::new(NasOptions {
            clock: SystemClock::shared(),
            journal: None,
            directory: directory.path().to_owned(),
        });
        sim.add_export(EXPORT, export).expect("exported");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        sim.serve(listener);
        let folder = directory.path().join(EXPORT.trim_start_matches('/'));
        Self { sim, port, folder, _directory: directory }
    }

    pub fn fault(&self, fault: NasFault) -> FaultId {
        self.sim.inject(fault).expect("injected")
    }

    pub fn heal(&self, fault: FaultId) {
        self.sim.heal(fault).expect("healed");
    }

    /// How many times `procedure` was called.
    pub fn calls(&self, procedure: &str) -> u64 {
        self.sim.calls().get(procedure).copied().unwrap_or(0)
    }

    /// An agent that mounts from here.
    pub async fn agent(&self) -> Agent {
        self.agent_with(&[]).await
    }

    pub async fn agent_with(&self, more: &[&str]) -> Agent {
        let port = self.port.to_string();
        let mut arguments = vec!["--nas-port", port.as_str(), "--nas-mounter", "user-space"];
        arguments.extend(more);
        Agent::start_for(NAS, "nas", &arguments).await
    }
}

/// The product's example: two entries of mountOptions, the first of which holds commas.
pub const PRODUCT_OPTIONS: [&str; 2] = ["nolock,tcp,noresvport", "vers=3"];

/// A publish request as the manager resolves it, for `path`.
pub fn request(target: &Path, path: &str, mount_options: &[&str]) -> NodePublishVolumeRequest {
    let mount = MountVolume {
        mount_flags: mount_options.iter().map(|option| (*option).to_owned()).collect(),
        ..Default::default()
    };
    NodePublishVolumeRequest {
        volume_id: format!("pv-{}", target.file_name().and_then(|name| name.to_str()).unwrap_or("x")),
        target_path: target.to_str().expect("text").into(),
        volume_capability: Some(VolumeCapability {
            access_type: Some(AccessType::Mount(mount)),
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        }),
        volume_context: [("server", "127.0.0.1"), ("path", path), ("csi.storage.k8s.io/pod.uid", "8f1c")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Default::default()
    }
}

/// Mounts the whole export with `options` and answers where.
pub async fn mount(agent: &Agent, name: &str, options: &[&str]) -> PathBuf {
    let target = agent.target(name);
    agent.publish(request(&target, EXPORT, options)).await.expect("mounted");
    target
}

/// The names in a directory, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .expect("opened")
        .map(|entry| entry.expect("listed").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

/// The error number of `outcome`, which must be an error.
pub fn number<T: Debug>(outcome: io::Result<T>) -> i32 {
    outcome.expect_err("an error").raw_os_error().expect("of the system")
}

/// Runs `script` in a shell as user and group 1000; answers its exit code and what it printed.
pub fn as_user(script: &str, directory: &Path) -> (i32, String) {
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(directory)
        .uid(1000)
        .gid(1000)
        .output()
        .expect("a shell");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// Waits, without a runtime, until `holds`.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT * 3, "{what} does not come about within {:?}", LIMIT * 3);
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
