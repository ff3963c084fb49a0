//! What the tests share.

pub(crate) mod csi;
pub(crate) mod enclosure;
pub(crate) mod rpc;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_runtime::envd::{Options, router};
use agent_runtime::storage::Surroundings;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The longest wait for anything that should come soon.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The agent as a program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_agent-runtime");

/// Waits for `work`, but not for ever.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.unwrap_or_else(|_| panic!("waited {SOON:?} for {what}"))
}

/// envd on a port of its own, with accounts `root` and `user` whose homes are in a temporary place.
pub(crate) struct Sandbox {
    pub(crate) place: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    token: Option<&'static str>,
    server: JoinHandle<()>,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Sandbox {
    /// Starts envd. Needs root, because commands run as another user.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts envd with options that `change` has changed.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests act as several users and need root");
        let place = tempfile::tempdir().expect("a directory");
        let mut options = options(place.path());
        change(&mut options);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = router(options);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
        Self { place, address, client: Client::new(), token: None, server }
    }

    /// Starts envd and gives it the access token `token`.
    pub(crate) async fn start_with_token(token: &'static str) -> Self {
        let mut sandbox = Self::start().await;
        sandbox.set_token(token).await;
        sandbox
    }

    /// Gives envd the access token `token`.
    pub(crate) async fn set_token(&mut self, token: &'static str) {
        let answer = self.request(Method::POST, "/init").json(&json!({ "accessToken": token })).send();
        assert_eq!(answer.await.expect("sent").status(), 204);
        self.token = Some(token);
    }

    /// A request with the token, if there is one.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        match self.token {
            Some(token) => request.header("X-Access-Token", token),
            None => request,
        }
    }

    /// A request without any token.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// The home of `user`.
    pub(crate) fn home(&self) -> PathBuf {
        self.place.path().join("home/user")
    }

    /// A path within the home, as text.
    pub(crate) fn path(&self, below: &str) -> String {
        self.home().join(below).to_string_lossy().into_owned()
    }
}

fn options(place: &Path) -> Options {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let home = place.join("home/user");
    std::fs::create_dir_all(&home).expect("made");
    std::fs::create_dir(place.join("etc")).expect("made");
    // Temporary directories are closed to others, and commands run as somebody else.
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755)).expect("opened");
    chown(&home, Some(1000), Some(1000)).expect("owned");
    let users = format!(
        "root:x:0:0::{0}:/bin/sh\nuser:x:1000:1000::{1}:/bin/bash\n",
        place.display(),
        home.display()
    );
    std::fs::write(place.join("etc/passwd"), users).expect("written");
    std::fs::write(place.join("etc/group"), "root:x:0:\nuser:x:1000:\nvideo:x:44:user\n").expect("written");
    let root = place.join("mount-root");
    std::fs::create_dir(&root).expect("made");
    std::fs::write(place.join("mounts"), format!("tmpfs {} tmpfs rw 0 0\n", root.display()))
        .expect("written");
    Options {
        accounts: place.join("etc"),
        launcher: PROGRAM.into(),
        storage: Surroundings {
            mounts: place.join("mounts"),
            sockets: place.join("sockets"),
            pod_uid: Some("pod-1".into()),
            call_limit: Duration::from_secs(5),
            ..Surroundings::default()
        },
        ..Options::default()
    }
}

/// The body of an answer as JSON.
pub(crate) async fn body(answer: reqwest::Response) -> Value {
    answer.json().await.expect("json")
}
