//! What the tests share: an enclosure around each test, and a small lab inside it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clock::SimulatedClock;
use journal::Journal;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube_sim::KubeSim;
use node_sim::enclosure::{EnclosureOptions, spawn};
use node_sim::{Node, NodeOptions};
use serde_json::{Value, json};

/// Set inside an enclosure.
const INSIDE: &str = "NODE_SIM_TEST_INSIDE";
/// How long any single thing in a test may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// The program that is shim and enclosed launcher.
pub(crate) const SHIM: &str = env!("CARGO_BIN_EXE_node-sim-shim");

/// Runs a test's body inside an enclosure of its own: the test program starts itself again there, asking for this
/// one test. `name` is the test's full name.
pub(crate) fn enclosed<F: Future<Output = ()>>(name: &str, body: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    if std::env::var_os(INSIDE).is_some() {
        runtime.block_on(async {
            tokio::time::timeout(3 * LIMIT, body()).await.expect("the whole test in time");
        });
        runtime.shutdown_background();
        return;
    }
    let log = tempfile::NamedTempFile::new().expect("a log file");
    let status = runtime.block_on(async {
        let mut enclosure =
            spawn(again(name, log.path())).await.expect("an enclosure (needs root or user namespaces)");
        enclosure.wait().await.expect("an end")
    });
    let output = std::fs::read_to_string(log.path()).unwrap_or_default();
    assert!(status.success(), "{name} failed inside its enclosure ({status}):\n{output}");
    print!("{output}"); // shown by --nocapture: measurements
    assert!(output.contains("1 passed"), "{name} did not run inside its enclosure:\n{output}");
}

/// The same for an ordinary user of the machine: uid and gid 1000, no capabilities.
pub(crate) fn enclosed_as_user<F: Future<Output = ()>>(name: &str, body: impl FnOnce() -> F) {
    if std::env::var_os(INSIDE).is_some() {
        return enclosed(name, body);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    std::os::unix::fs::chown(folder.path(), Some(1000), Some(1000)).expect("root");
    let options = again(name, &log);
    let status = std::process::Command::new("setpriv")
        .args([
            "--reuid=1000",
            "--regid=1000",
            "--clear-groups",
            "--bounding-set=-all",
            SHIM,
            "outside",
            SHIM,
        ])
        .args(options.args)
        .envs(options.environment)
        .status()
        .expect("setpriv");
    let output = std::fs::read_to_string(&log).unwrap_or_default();
    assert!(status.success(), "{name} failed inside its enclosure ({status}):\n{output}");
    assert!(output.contains("1 passed"), "{name} did not run inside its enclosure:\n{output}");
}

fn again(name: &str, log: &Path) -> EnclosureOptions {
    let this = std::env::current_exe().expect("the test program");
    let words = ["enclosed".into(), log.as_os_str().into(), this.into_os_string()];
    let args = words.into_iter().chain([name, "--exact", "--nocapture"].map(Into::into)).collect();
    let mut environment: Vec<_> = std::env::vars_os().collect();
    environment.push((INSIDE.into(), "1".into()));
    EnclosureOptions { program: SHIM.into(), args, environment, file_descriptors: Vec::new() }
}

/// A small lab: an API server and a node.
pub(crate) struct Lab {
    pub(crate) api: KubeSim,
    pub(crate) node: Node,
    pub(crate) clock: SimulatedClock,
    pub(crate) journal: Journal,
    pub(crate) client: kube::Client,
}

impl Lab {
    /// Starts one with the default options.
    pub(crate) async fn start() -> Self {
        Self::start_with(|options| options).await
    }

    /// Starts one with changed options.
    pub(crate) async fn start_with(change: impl FnOnce(NodeOptions) -> NodeOptions) -> Self {
        Self::start_on(|_| std::future::ready(()), change).await
    }

    /// Starts one after `install` has prepared its API.
    async fn start_on<F: Future<Output = ()>>(
        install: impl FnOnce(kube::Client) -> F,
        change: impl FnOnce(NodeOptions) -> NodeOptions,
    ) -> Self {
        let state = state_directory();
        let clock = SimulatedClock::default();
        let shared: clock::SharedClock = Arc::new(clock.clone());
        let journal = Journal::new(shared.clone());
        let api = KubeSim::new(kube_sim::Options { clock: shared.clone(), journal: Some(journal.clone()) });
        let client = api.client("default");
        install(client.clone()).await;
        let options = NodeOptions::new(client.clone(), shared, journal.clone(), state, SHIM.into());
        let node = Node::start(change(options)).await.expect("a node");
        Self { api, node, clock, journal, client }
    }

    /// The same with the kind `TrafficPolicy`.
    pub(crate) async fn start_with_traffic_policies(change: impl FnOnce(NodeOptions) -> NodeOptions) -> Self {
        Self::start_with_kind("TrafficPolicy", change).await
    }

    /// The same with a kind of ours.
    pub(crate) async fn start_with_kind(
        kind: &'static str,
        change: impl FnOnce(NodeOptions) -> NodeOptions,
    ) -> Self {
        Self::start_on(
            move |client| async move {
                let api: Api<CustomResourceDefinition> = Api::all(client);
                let definitions = contract::crd::all();
                let wanted = definitions.iter().find(|definition| definition.spec.names.kind == kind);
                api.create(&PostParams::default(), wanted.expect("defined")).await.expect("created");
            },
            change,
        )
        .await
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    /// Creates a pod from its name and specification.
    pub(crate) async fn create(&self, name: &str, spec: Value) -> Pod {
        self.create_from(
            serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}),
        )
        .await
    }

    /// Creates a pod.
    pub(crate) async fn create_from(&self, pod: Value) -> Pod {
        let pod = serde_json::from_value(pod).expect("a pod");
        self.pods().create(&PostParams::default(), &pod).await.expect("created")
    }

    /// Waits until the pod's JSON satisfies `condition`.
    pub(crate) async fn wait_for(&self, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let mut follower = self.journal.follow(0);
        let found = tokio::time::timeout(LIMIT, async {
            loop {
                let pod = self.pods().get_opt(name).await.expect("an answer");
                last = serde_json::to_value(&pod).expect("JSON");
                if condition(&last) {
                    return;
                }
                follower.next().await;
            }
        });
        if found.await.is_err() {
            let events = self.events(name).await;
            panic!("deadline {LIMIT:?}: pod {name} never {what}; last: {last:#}\nevents: {events:#?}");
        }
        last
    }

    /// Waits until the container's status satisfies `condition`.
    pub(crate) async fn wait_container(
        &self,
        pod: &str,
        name: &str,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let found = self.wait_for(pod, what, |pod| condition(container(pod, name))).await;
        container(&found, name).clone()
    }

    /// Waits until the pod's events satisfy `condition`.
    pub(crate) async fn wait_events(&self, pod: &str, what: &str, condition: impl Fn(&[String]) -> bool) {
        let mut follower = self.journal.follow(0);
        let found = tokio::time::timeout(LIMIT, async {
            while !condition(&self.events(pod).await) {
                follower.next().await;
            }
        });
        let in_time = found.await.is_ok();
        assert!(in_time, "deadline {LIMIT:?}: {what} is not among the events: {:#?}", self.events(pod).await);
    }

    /// Waits until the pod is ready.
    pub(crate) async fn wait_ready(&self, name: &str) -> Value {
        self.wait_for(name, "became ready", |pod| condition(pod, "Ready") == Some("True")).await
    }

    /// Deletes the pod and waits until it is gone.
    pub(crate) async fn delete(&self, name: &str) {
        self.pods().delete(name, &DeleteParams::default()).await.expect("deleted");
        self.wait_for(name, "went away", Value::is_null).await;
    }

    /// Reasons and messages of the pod's events, oldest first.
    pub(crate) async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::default_namespaced(self.client.clone());
        let list = api.list(&ListParams::default()).await.expect("events");
        let of_pod =
            list.items.into_iter().filter(|event| event.involved_object.name.as_deref() == Some(name));
        let mut events: Vec<_> = of_pod.collect();
        events.sort_by_key(|event| {
            event.metadata.resource_version.as_deref().and_then(|text| text.parse::<u64>().ok())
        });
        let text = |event: Event| {
            format!("{} {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default())
        };
        events.into_iter().map(text).collect()
    }

    /// Runs a shell command in a container; its output. The command has to succeed.
    pub(crate) async fn run(&self, pod: &str, container: &str, command: &str) -> String {
        let (code, output) = self.try_run(pod, container, command).await;
        assert_eq!(code, 0, "{command:?} in {container} failed: {output}");
        output
    }

    /// Runs a shell command in a container; its exit code and output.
    pub(crate) async fn try_run(&self, pod: &str, container: &str, command: &str) -> (i32, String) {
        let words = ["/bin/sh", "-c", command];
        let result = self.node.exec("default", pod, Some(container), &words, LIMIT).await.expect("an end");
        (result.code, result.output)
    }

    /// Waits until the journal has an entry that satisfies `condition`.
    pub(crate) async fn wait_journal(&self, what: &str, condition: impl Fn(&journal::Entry) -> bool) {
        let mut follower = self.journal.follow(0);
        let found = tokio::time::timeout(LIMIT, async { while !condition(&*follower.next().await) {} });
        assert!(found.await.is_ok(), "deadline {LIMIT:?}: the journal never told that {what}");
    }
}

/// The status of a pod's condition.
pub(crate) fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = pod["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}

/// The status of a pod's container, init containers included.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let lists = ["containerStatuses", "initContainerStatuses"].map(|list| pod["status"][list].as_array());
    lists.into_iter().flatten().flatten().find(|status| status["name"] == name).unwrap_or(&Value::Null)
}

/// A file system in memory that hides the machine's `/run`.
fn state_directory() -> PathBuf {
    let flags = rustix::mount::MountFlags::NODEV | rustix::mount::MountFlags::NOSUID;
    rustix::mount::mount("state", "/run", "tmpfs", flags, Some(c"mode=0755")).expect("a tmpfs");
    let state = PathBuf::from("/run/node");
    std::fs::create_dir(&state).expect("a folder");
    state
}

/// A container that runs `script`.
pub(crate) fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "i", "command": ["/bin/sh", "-c", script]})
}
