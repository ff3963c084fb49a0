//! A csi-node process, an object store, and a mount namespace that goes with the test.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "test code: a failed expectation ends the test, and every test file uses its part"
)]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clock::SystemClock;
use csi_api::identity_client::IdentityClient;
use csi_api::node_client::NodeClient;
use csi_api::volume_capability::access_mode::Mode;
use csi_api::volume_capability::{AccessMode, AccessType, MountVolume};
use csi_api::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability};
use hyper_util::rt::TokioIo;
use journal::Journal;
use oss_sim::{Access, OssOptions, OssSim};
use tokio::net::{TcpListener, UnixStream};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

pub const DRIVER: &str = "ossplugin.csi.alibabacloud.com";
pub const BUCKET: &str = "demo-bucket";
pub const KEY_ID: &str = "AKID-sentinel-0123456789";
pub const KEY_SECRET: &str = "AKSECRET-sentinel-0123456789";

/// Longest time that a test waits for something.
pub const LIMIT: Duration = Duration::from_secs(20);

const INSIDE: &str = "CSI_NODE_TEST_INSIDE";

/// Runs `body` in namespaces of its own, by starting this test again below `unshare`: whatever it mounts and starts
/// goes with it. `name` is the test's full name.
pub fn in_namespaces<F: Future<Output = ()>>(name: &str, body: impl FnOnce() -> F) {
    if let Some(marker) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(body());
        std::fs::write(marker, name).expect("the end is told");
        return;
    }
    assert!(
        nix::unistd::geteuid().is_root() && Path::new("/dev/fuse").exists(),
        "this test mounts FUSE file systems: it needs root and /dev/fuse"
    );
    let marker = tempfile::NamedTempFile::new().expect("a file");
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture", "--test-threads", "1", "--include-ignored"])
        .env(INSIDE, marker.path())
        .stdin(Stdio::null())
        .status()
        .expect("unshare starts");
    assert!(status.success(), "{name} failed in its namespaces: {status}");
    assert_eq!(std::fs::read_to_string(marker.path()).expect("read"), name, "no such test ran: {name}");
}

/// Runs `body` in namespaces of its own with an agent that mounts OSS volumes with `mounter`; `test` is the test's name, whose
/// cases are the built-in mounter and `s3fs`, in this order.
pub fn with_mounter<F: Future<Output = ()>>(
    test: &str,
    mounter: &'static str,
    body: impl FnOnce(Agent) -> F,
) {
    let case = if mounter == "s3fs" { "case_2_s3fs" } else { "case_1_built_in" };
    in_namespaces(&format!("{test}::{case}"), || async {
        body(Agent::start_with(&["--oss-mounter", mounter]).await).await;
    });
}

/// An object store with one bucket and one key.
pub struct Store {
    pub sim: OssSim,
    pub url: String,
    /// Every request.
    pub journal: Journal,
    _directory: tempfile::TempDir,
}

impl Store {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = Journal::new(SystemClock::shared());
        let options = OssOptions {
            clock: SystemClock::shared(),
            journal: Some(journal.clone()),
            directory: directory.path().to_owned(),
        };
        let sim = OssSim::new(options);
        sim.add_key(KEY_ID, KEY_SECRET, Access::Full);
        sim.create_bucket(BUCKET).expect("a bucket");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        sim.serve(listener);
        Self { sim, url, journal, _directory: directory }
    }

    pub async fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.sim.put_object(BUCKET, key, bytes.into()).await.expect("stored");
    }

    pub async fn get(&self, key: &str) -> Vec<u8> {
        match self.sim.get_object(BUCKET, key).await {
            Ok(bytes) => bytes.to_vec(),
            Err(error) => panic!("object {key:?}: {error}; there are {:?}", self.keys()),
        }
    }

    pub fn keys(&self) -> Vec<String> {
        let objects = self.sim.list_objects(BUCKET, "").expect("listed");
        objects.into_iter().map(|object| object.key).collect()
    }
}

/// A running csi-node.
pub struct Agent {
    child: Child,
    pub directory: tempfile::TempDir,
    channel: Channel,
    folder: &'static str,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(more: &[&str]) -> Self {
        Self::start_for(DRIVER, "oss", more).await
    }

    /// Starts one whose calls go to `driver`, with mounts in the folder of that driver.
    pub async fn start_for(driver: &str, folder: &'static str, more: &[&str]) -> Self {
        Self::start_in(&[], driver, folder, more).await
    }

    /// The same, with further environment.
    pub async fn start_in(
        environment: &[(&str, &str)],
        driver: &str,
        folder: &'static str,
        more: &[&str],
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let sockets = directory.path().join("sockets");
        let output = std::fs::File::create(directory.path().join("stdout")).expect("a file");
        let errors = std::fs::File::create(directory.path().join("stderr")).expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_csi-node"))
            .args(["serve", "--socket-dir"])
            .arg(&sockets)
            .args(more)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("csi-node starts");
        csi_node::wait(&sockets, &[driver.to_owned()], LIMIT).await.expect("it answers");
        let channel = connect(&csi_node::socket_path(&sockets, driver)).await;
        Self { child, directory, channel, folder }
    }

    /// The connection to it.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }

    pub fn identity(&self) -> IdentityClient<Channel> {
        IdentityClient::new(self.channel.clone())
    }

    /// A place for a mount.
    pub fn target(&self, name: &str) -> PathBuf {
        self.directory.path().join("mount-root").join(self.folder).join(name)
    }

    pub async fn publish(&self, request: NodePublishVolumeRequest) -> Result<(), Status> {
        self.node().node_publish_volume(request).await.map(drop)
    }

    pub async fn unpublish(&self, target: &Path) -> Result<(), Status> {
        let request = NodeUnpublishVolumeRequest {
            volume_id: "pv-abc123".into(),
            target_path: target.to_str().expect("text").into(),
        };
        self.node().node_unpublish_volume(request).await.map(drop)
    }

    /// Mounts `store` with the product's options and answers where.
    pub async fn mount(&self, store: &Store, name: &str, attributes: &[(&str, &str)]) -> PathBuf {
        let target = self.target(name);
        self.publish(request(store, &target, attributes)).await.expect("mounted");
        target
    }

    pub fn stdout(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stdout")).expect("its output")
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stderr")).expect("its log")
    }

    /// What can be said when something went wrong: whether it still runs, or how it ended, and its log.
    pub fn last_words(&mut self) -> String {
        let state = match self.child.try_wait() {
            Ok(None) => "csi-node still runs".to_owned(),
            Ok(Some(status)) => format!("csi-node has ended: {status}"),
            Err(error) => format!("csi-node can't be looked at: {error}"),
        };
        format!("{state}; its log: {}", self.stderr())
    }

    pub fn process(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process number")
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.process()), signal).expect("signalled");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("waited for") {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, ended).await.expect("csi-node ends in time")
    }
}

async fn connect(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    Endpoint::from_static("http://csi.sock")
        .connect_with_connector(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await
        .expect("connected")
}

/// A publish request as the manager resolves it, with further or other attributes.
pub fn request(store: &Store, target: &Path, attributes: &[(&str, &str)]) -> NodePublishVolumeRequest {
    let mut request = NodePublishVolumeRequest {
        volume_id: format!("pv-{}", target.file_name().and_then(|name| name.to_str()).unwrap_or("x")),
        target_path: target.to_str().expect("text").into(),
        volume_capability: Some(VolumeCapability {
            access_type: Some(AccessType::Mount(MountVolume::default())),
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        }),
        secrets: [("akId", KEY_ID), ("akSecret", KEY_SECRET)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        volume_context: [("bucket", BUCKET), ("url", &store.url)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Default::default()
    };
    for (name, value) in attributes {
        request.volume_context.insert((*name).into(), (*value).into());
    }
    request
}

/// Runs `work`, which makes file operations, where it may block.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::time::timeout(LIMIT * 6, tokio::task::spawn_blocking(work))
        .await
        .expect("in time")
        .expect("no panic")
}

/// The options of the mount at `target`, or nothing.
pub fn mount_line(target: &Path) -> Option<String> {
    let table = std::fs::read_to_string("/proc/self/mounts").expect("the mount table");
    let target = target.to_str().expect("text");
    table.lines().find(|line| line.split(' ').nth(1) == Some(target)).map(str::to_owned)
}
