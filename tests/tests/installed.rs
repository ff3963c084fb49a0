//! The system as `kubectl apply -f kind/manifests/` installs it: the manifests on an API server, and the components as
//! processes that reach it by a kubeconfig, as in pods.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use clock::SystemClock;
use kube_sim::{KubeSim, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use system_tests::{Kubectl, fixture, mountlab, repository, wait_until};
use tempfile::TempDir;

/// How long anything may take on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_mins(2);

/// An API server alone: no controller, no node.
struct Api {
    kubectl: Kubectl,
    kubeconfig: String,
    folder: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Api {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let server = KubeSim::new(Options { clock: SystemClock::shared(), journal: None });
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let text = server.kubeconfig(&format!("https://{address}")).expect("a kubeconfig");
        runtime.spawn(async move { server.serve_https(listener).await });
        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, text).expect("written");
        let kubectl = Kubectl::new(&kubeconfig);
        Self { kubectl, kubeconfig: kubeconfig.display().to_string(), folder, _runtime: runtime }
    }
}

/// A component that runs, on addresses of its own.
struct Component {
    child: Child,
    address: Ipv4Addr,
    log: PathBuf,
}

impl Component {
    fn start(api: &Api, verb: &str, identity: &str, more: &[&str]) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        // Every process has loopback addresses that no other uses, so ports can be fixed.
        let [high, low] = u16::try_from(std::process::id() % 65_536).expect("small").to_be_bytes();
        let address = Ipv4Addr::new(127, 1 + high % 250, low, NEXT.fetch_add(1, Ordering::Relaxed));
        let mut command = mountlab(&[verb, "--leader-elect", "--log-format", "text"]);
        command.args(["--health-probe-bind-address", &format!("{address}:8081")]);
        command.args(["--metrics-bind-address", &format!("{address}:8443")]).args(more);
        if verb == "manager" {
            command.args(["--listen", &format!("{address}:8080")]);
        }
        command.env("KUBECONFIG", &api.kubeconfig).env("POD_NAME", identity);
        let log = api.folder.path().join(format!("{identity}.log"));
        let lines = File::create(&log).expect("a file");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(lines).spawn();
        Self { child: child.expect("started"), address, log }
    }

    /// The answer to a request, its head included; nothing while nobody answers.
    fn get(&self, port: u16, path: &str) -> Option<String> {
        let address = SocketAddr::from((self.address, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Whether it has said which version it is.
    fn says_its_version(&self) -> bool {
        let said = std::fs::read_to_string(&self.log).expect("a log");
        said.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""))
    }

    fn is_ready(&self) -> bool {
        self.get(8081, "/readyz")
            .is_some_and(|answer| answer.lines().next().is_some_and(|line| line.contains(" 200 ")))
    }

    fn leads(&self) -> bool {
        let metrics = self.get(8443, "/metrics").unwrap_or_default();
        metrics.lines().any(|line| line.starts_with("leader_election_master_status") && line.ends_with(" 1"))
    }

    /// Asks it to end, as a kubelet does, and returns its exit status.
    fn end(mut self) -> Option<i32> {
        let id = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        kill(id, Signal::SIGTERM).expect("it is there");
        let status = wait_until("end after SIGTERM", LIMIT, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        });
        status.code()
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn plain_apply_installs_and_replicas_have_one_leader() {
    let api = Api::start();
    let manifests = repository().join("kind/manifests").display().to_string();
    api.kubectl.call(&["apply", "-f", &manifests]);
    let again = api.kubectl.call(&["apply", "-f", &manifests]);
    assert!(again.lines().all(|line| line.ends_with("unchanged")), "{again}");
    api.kubectl.call(&["apply", "--server-side", "--force-conflicts", "-f", &manifests]);
    let replicas = api.kubectl.get(&["deployment", "-n", "sandbox-system", "sandbox-controller-manager"]);
    assert_eq!(replicas["spec"]["replicas"], 2, "{replicas}");

    let first =
        Component::start(&api, "controller", "one", &["--metric-labels-allowlist=alibabacloud.com/acs"]);
    wait_until("first replica leads", LIMIT, || {
        if first.is_ready() && first.leads() { Ok(()) } else { Err("it doesn't lead".to_owned()) }
    });
    assert!(first.says_its_version(), "the controller's log has its version");
    let second = Component::start(&api, "controller", "two", &[]);
    wait_until("second replica is ready", LIMIT, || {
        if second.is_ready() { Ok(()) } else { Err("it isn't ready".to_owned()) }
    });
    assert!(!second.leads(), "both lead");
    api.kubectl.feed(&["create"], &fixture("code-interpreter-inject-test.yaml", &[]));
    let pods = || api.kubectl.call(&["get", "pods", "-o", "name"]).lines().count();
    wait_until("pool's pods", LIMIT, || if pods() == 4 { Ok(()) } else { Err(format!("{} pods", pods())) });

    wait_until("labels in the metrics", LIMIT, || {
        let metrics = first.get(8443, "/metrics").unwrap_or_default();
        let labelled = metrics.lines().filter(|line| line.starts_with("sandbox_labels{"));
        let count = labelled.filter(|line| line.contains("label_alibabacloud_com_acs=")).count();
        if count == 4 { Ok(()) } else { Err(metrics) }
    });

    assert_eq!(first.end(), Some(0), "the controller ends well when it is told to");
    wait_until("second replica leads", LIMIT, || {
        if second.leads() { Ok(()) } else { Err("it doesn't lead".to_owned()) }
    });
    api.kubectl.call(&["scale", "sandboxset", "code-interpreter-inject-test", "--replicas=5"]);
    wait_until("larger pool's pods", LIMIT, || {
        if pods() == 5 { Ok(()) } else { Err(format!("{} pods", pods())) }
    });
    assert_eq!(second.end(), Some(0), "the controller ends well when it is told to");

    let manager = Component::start(&api, "manager", "three", &["--no-authentication"]);
    wait_until("manager is ready and leads", LIMIT, || {
        if manager.is_ready() && manager.leads() { Ok(()) } else { Err("not yet".to_owned()) }
    });
    assert!(manager.says_its_version(), "the manager's log has its version");
    let templates = manager.get(8080, "/templates").expect("an answer");
    assert!(templates.contains("code-interpreter-inject-test"), "{templates}");
    assert_eq!(manager.end(), Some(0), "the manager ends well when it is told to");
    let holder =
        ["lease", "-n", "sandbox-system", "sandbox-manager", "-o", "jsonpath={.spec.holderIdentity}"];
    let holder = api.kubectl.call(&[&["get"], holder.as_slice()].concat());
    assert_eq!(holder, "", "the manager gives its Lease back");
}
