//! An API server in this process, the controller on it, and a kubelet that only writes status.
#![allow(dead_code, reason = "every test file uses a part")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clock::{SharedClock, SimulatedClock};
use contract::crd::{Sandbox, SandboxSet};
use controller::ControllerOptions;
use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use kube_sim::{KubeSim, Options};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::{AbortHandle, JoinSet};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// An access key that must show up nowhere.
pub(crate) const SECRET: &str = "sentinel-secret-value-0002";
/// Limit of every wait in these tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Everything that runs in one test; dropping it ends it.
pub(crate) struct Lab {
    pub(crate) clock: SimulatedClock,
    pub(crate) client: Client,
    pub(crate) sim: KubeSim,
    /// Where the runtimes of all sandboxes answer, once it is set.
    runtime: Arc<OnceLock<String>>,
    tasks: JoinSet<()>,
}

impl Lab {
    /// API server with the definitions; nothing else runs yet.
    pub(crate) async fn bare() -> Self {
        let clock = SimulatedClock::default();
        let shared: SharedClock = Arc::new(clock.clone());
        let sim = KubeSim::new(Options { clock: shared, journal: None });
        let client = sim.client("default");
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        for definition in contract::crd::all() {
            definitions
                .create(&PostParams::default(), &definition)
                .await
                .expect("the definition is accepted");
        }
        Self { clock, client, sim, runtime: Arc::default(), tasks: JoinSet::new() }
    }

    /// With controller and kubelet.
    pub(crate) async fn new() -> Self {
        let mut lab = Self::bare().await;
        lab.start_controller();
        lab.start_kubelet();
        lab
    }

    /// Starts a controller; the handle ends it.
    pub(crate) fn start_controller(&mut self) -> AbortHandle {
        self.start_controller_with(|_| {})
    }

    /// Starts a controller with other options than the defaults.
    pub(crate) fn start_controller_with(
        &mut self,
        change: impl FnOnce(&mut ControllerOptions),
    ) -> AbortHandle {
        let mut options = ControllerOptions::new(self.client.clone(), Arc::new(self.clock.clone()));
        change(&mut options);
        self.tasks.spawn(async move {
            let stopped = controller::run(options).await;
            panic!("the controller stopped: {stopped:?}");
        })
    }

    /// The runtimes of the sandboxes whose pods start from now on answer at `url`, whatever their address.
    pub(crate) fn runtime_at(&self, url: String) {
        self.runtime.set(url).expect("said once");
    }

    /// Makes every pod Running and Ready as soon as it is there, and lets deleted ones go.
    pub(crate) fn start_kubelet(&mut self) {
        let (client, runtime) = (self.client.clone(), Arc::clone(&self.runtime));
        self.tasks.spawn(async move {
            let mut events =
                std::pin::pin!(watcher(Api::<Pod>::all(client.clone()), watcher::Config::default()));
            let mut address = 0_u8;
            while let Some(event) = events.next().await {
                let (watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) =
                    event.expect("the watch works")
                else {
                    continue;
                };
                address = address.wrapping_add(1);
                serve_pod(&client, &pod, address, runtime.get()).await;
            }
        });
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates the object that `json` describes.
    pub(crate) async fn create<K>(&self, json: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let object: K = serde_json::from_value(json).expect("an object of that kind");
        self.api::<K>().create(&PostParams::default(), &object).await.expect("created")
    }

    pub(crate) async fn merge<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched")
    }

    /// Waits until the objects of a kind in namespace default are as `is_so` says. Fails after [`LIMIT`] with the
    /// last state.
    pub(crate) async fn until<K>(&self, what: &str, is_so: impl Fn(&[K]) -> bool) -> Vec<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize
            + Send
            + 'static,
    {
        let mut objects: BTreeMap<String, K> = BTreeMap::new();
        let wait = async {
            let mut events = std::pin::pin!(watcher(self.api::<K>(), watcher::Config::default()));
            let mut listed = false;
            while let Some(event) = events.next().await {
                match event.expect("the watch works") {
                    watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                        objects.insert(object.name_any(), object);
                    }
                    watcher::Event::Delete(object) => {
                        objects.remove(&object.name_any());
                    }
                    watcher::Event::Init => objects.clear(),
                    watcher::Event::InitDone => listed = true,
                }
                let now: Vec<K> = objects.values().cloned().collect();
                if listed && is_so(&now) {
                    return now;
                }
            }
            panic!("the watch ended");
        };
        let found = tokio::time::timeout(LIMIT, wait).await;
        found.unwrap_or_else(|_| {
            let last: Vec<_> = objects.values().map(|object| json!(object).to_string()).collect();
            panic!("not within {LIMIT:?}: {what}; last state:\n{}", last.join("\n"));
        })
    }

    /// Waits for an event of that reason; returns its message.
    pub(crate) async fn event(&self, reason: &str) -> String {
        let is = |event: &&Event| event.reason.as_deref() == Some(reason);
        let events = self
            .until::<Event>(&format!("an event {reason}"), |events| events.iter().any(|event| is(&event)))
            .await;
        events.iter().find(is).and_then(|event| event.message.clone()).unwrap_or_default()
    }

    /// The messages of the events with that reason that there are by now.
    pub(crate) async fn events(&self, reason: &str) -> Vec<String> {
        let all = self.api::<Event>().list(&ListParams::default()).await.expect("a list");
        let of_reason = all.items.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
        of_reason.filter_map(|event| event.message).collect()
    }

    /// Waits until the objects of a kind are as `is_so` says, while the lab's time goes on: retries follow it.
    pub(crate) async fn until_with_time<K>(&self, what: &str, is_so: impl Fn(&[K]) -> bool) -> Vec<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize
            + Send
            + 'static,
    {
        let moving = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            loop {
                ticks.tick().await;
                self.clock.advance(Duration::from_secs(1));
            }
        };
        tokio::select! {
            all = self.until::<K>(what, is_so) => all,
            () = moving => unreachable!("time goes on for ever"),
        }
    }

    /// The same for the only Sandbox.
    pub(crate) async fn sandbox_with_time(&self, what: &str, is_so: impl Fn(&Sandbox) -> bool) -> Sandbox {
        self.until_with_time::<Sandbox>(what, |all| is_so(&all[0])).await[0].clone()
    }

    /// The PersistentVolume `oss-pv` and the Secret that it refers to.
    pub(crate) async fn secret_and_volume(&self) {
        self.secret().await;
        self.volume("demo").await;
    }

    /// The PersistentVolume `oss-pv`.
    pub(crate) async fn volume(&self, bucket: &str) {
        self.volume_of("ossplugin.csi.alibabacloud.com", bucket).await;
    }

    /// The PersistentVolume `oss-pv`, which may be one of another driver.
    pub(crate) async fn volume_of(&self, driver: &str, bucket: &str) {
        let volume = json!({
            "metadata": {"name": "oss-pv"},
            "spec": {
                "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteMany"],
                "csi": {
                    "driver": driver, "volumeHandle": "oss-pv",
                    "volumeAttributes": {"bucket": bucket, "url": "http://127.0.0.1:1"},
                    "nodePublishSecretRef": {"name": "oss-secret", "namespace": "sandbox-system"},
                },
            },
        });
        let volume: PersistentVolume = serde_json::from_value(volume).expect("a volume");
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        volumes.create(&PostParams::default(), &volume).await.expect("created");
    }

    /// The Secret `oss-secret`, with [`SECRET`].
    pub(crate) async fn secret(&self) {
        let data = json!({"akId": "LTAI-sentinel", "akSecret": SECRET});
        let secret = json!({"metadata": {"name": "oss-secret"}, "stringData": data});
        let secret: Secret = serde_json::from_value(secret).expect("a secret");
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "sandbox-system");
        secrets.create(&PostParams::default(), &secret).await.expect("created");
    }

    /// Waits until the set has `replicas` available sandboxes and no others.
    pub(crate) async fn available(&self, set: &str, replicas: i32) -> SandboxSet {
        let sets = self
            .until::<SandboxSet>(&format!("{replicas} available in {set}"), |sets| {
                sets.iter().any(|found| {
                    let status = found.status.clone().unwrap_or_default();
                    found.name_any() == set
                        && status.observed_generation == found.metadata.generation
                        && status.replicas == replicas
                        && status.available_replicas == replicas
                })
            })
            .await;
        sets.into_iter().find(|found| found.name_any() == set).expect("it was there")
    }
}

async fn serve_pod(client: &Client, pod: &Pod, address: u8, runtime: Option<&String>) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        // somebody else may have been faster
        let _ = pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
        return;
    }
    if pod.labels().contains_key("test/no-kubelet")
        || pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some())
    {
        return;
    }
    if let Some(runtime) = runtime {
        // before it is ready, so that nobody takes it without
        let url = json!({"metadata": {"annotations": {"e2b.agents.kruise.io/envd-url": runtime}}});
        let sandboxes: Api<Sandbox> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let _ = sandboxes.patch(&name, &PatchParams::default(), &Patch::Merge(url)).await;
    }
    let status = json!({"status": {
        "phase": "Running",
        "podIP": format!("10.0.0.{address}"),
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    let _ = pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
}

/// A runtime's answer to an order to mount.
pub(crate) fn mounting(answer: ResponseTemplate) -> Mock {
    Mock::given(method("POST")).and(path("/v1/storage/mounts")).respond_with(answer)
}

/// A runtime that does what it is told.
pub(crate) async fn willing_runtime() -> MockServer {
    let runtime = MockServer::start().await;
    Mock::given(path("/init")).respond_with(ResponseTemplate::new(204)).mount(&runtime).await;
    mounting(ResponseTemplate::new(200).set_body_json(json!({"success": true}))).mount(&runtime).await;
    runtime
}

/// An authority of its own and a certificate by it.
pub(crate) fn certificates() -> controller::RuntimeCertificates {
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(parameters, key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(vec!["controller".to_owned()]).expect("parameters");
    let certificate = parameters.signed_by(&key, &authority).expect("signed");
    controller::RuntimeCertificates {
        authority: authority.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// The SandboxSet of the product document, as written there.
pub(crate) fn document_set() -> Value {
    json!({
        "apiVersion": "agents.kruise.io/v1alpha1",
        "kind": "SandboxSet",
        "metadata": {"name": "code-interpreter-inject-test", "namespace": "default"},
        "spec": {
            "runtimes": [{"name": "csi"}, {"name": "agent-runtime"}],
            "replicas": 4,
            "template": {
                "metadata": {"labels": {"alibabacloud.com/acs": "true"}},
                "spec": {
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "image": "registry-cn-zhangjiakou-vpc.ack.aliyuncs.com/acs/code-interpreter:v1.6",
                        "imagePullPolicy": "IfNotPresent",
                        "name": "sandbox",
                        "resources": {
                            "limits": {"cpu": "1", "memory": "1Gi"},
                            "requests": {"cpu": "1", "memory": "1Gi"},
                        },
                    }],
                    "terminationGracePeriodSeconds": 30,
                },
            },
        },
    })
}

/// A set without runtimes.
pub(crate) fn plain_set(name: &str, replicas: i32) -> Value {
    json!({
        "apiVersion": "agents.kruise.io/v1alpha1",
        "kind": "SandboxSet",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "main", "image": "one"}]}}},
    })
}

/// A Sandbox without a set.
pub(crate) fn sandbox(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("template").is_none() && spec.get("templateRef").is_none() {
        spec["template"] = json!({"spec": {"containers": [{"name": "main", "image": "one"}]}});
    }
    json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox", "metadata": {"name": name}, "spec": spec})
}

/// The phase of a Sandbox as text.
pub(crate) fn phase(sandbox: &Sandbox) -> String {
    sandbox.status.as_ref().map(|status| status.phase.as_str().to_owned()).unwrap_or_default()
}

/// Reason of condition Ready.
pub(crate) fn ready_reason(sandbox: &Sandbox) -> Option<String> {
    let status = sandbox.status.as_ref()?;
    contract::conditions::find(&status.conditions, "Ready").map(|condition| condition.reason.clone())
}
