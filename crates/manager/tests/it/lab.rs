//! One manager on a socket, an API server in memory, and the objects that the tests need.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clock::SimulatedClock;
use contract::conditions::{self, types};
use contract::crd::{
    PodInfo, RuntimeConfig, Sandbox, SandboxPhase, SandboxSet, SandboxSetSpec, SandboxSpec, SandboxStatus,
};
use contract::names::{annotations, labels};
use jiff::Timestamp;
use journal::Journal;
use k8s_openapi::api::core::v1::{PersistentVolume, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use kube_sim::KubeSim;
use manager::{Background, Manager, ManagerOptions};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::envd::Envd;

/// Longest wait for anything in these tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// The operator's key.
pub(crate) const KEY: &str = "admin-key-for-tests";
/// The pool that most tests use.
pub(crate) const POOL: &str = "code-interpreter";
/// Values of the Secret that must show up nowhere.
pub(crate) const AK_ID: &str = "LTAI-sentinel-id-0001";
/// The other one.
pub(crate) const AK_SECRET: &str = "sentinel-secret-value-0002";

pub(crate) struct Lab {
    pub sim: KubeSim,
    pub client: Client,
    pub clock: SimulatedClock,
    pub journal: Journal,
    pub address: SocketAddr,
    pub http: reqwest::Client,
    _background: Background,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ManagerOptions)) -> Self {
        let clock = SimulatedClock::default();
        let journal = Journal::new(Arc::new(clock.clone()));
        let options = kube_sim::Options { clock: Arc::new(clock.clone()), journal: None };
        Self::on(KubeSim::new(options), clock, journal, change).await
    }

    /// A manager on an API server that is there already.
    pub(crate) async fn on(
        sim: KubeSim,
        clock: SimulatedClock,
        journal: Journal,
        change: impl FnOnce(&mut ManagerOptions),
    ) -> Self {
        let client = sim.client("default");
        install_definitions(&client).await;
        ensure_namespace(&client, "sandbox-system").await;
        let mut options = ManagerOptions::new(client.clone(), Arc::new(clock.clone()));
        KEY.clone_into(&mut options.admin_key);
        options.journal = Some(journal.clone());
        change(&mut options);
        let manager = Manager::new(options).expect("settings that work");
        let background = manager.start();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let router = manager.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        manager.ready().await.expect("synced");
        let http = reqwest::Client::builder().timeout(LIMIT).build().expect("a client");
        Self { sim, client, clock, journal, address, http, _background: background }
    }

    /// A pool with one ready sandbox for each runtime given.
    pub(crate) async fn pool(&self, name: &str, envds: &[&Envd]) -> SandboxSet {
        let set = self.set(name, &["csi", "agent-runtime"]).await;
        for (index, envd) in envds.iter().enumerate() {
            self.member(&set, &format!("{name}-{index}"), envd).await;
        }
        let wanted = envds.len() as u64;
        eventually("the pool is known", || async { self.available(name).await == wanted }).await;
        set
    }

    pub(crate) async fn set(&self, name: &str, runtimes: &[&str]) -> SandboxSet {
        let spec = SandboxSetSpec {
            replicas: 1,
            runtimes: Some(runtimes.iter().map(|name| RuntimeConfig::named(name)).collect()),
            template: Some(template()),
            ..SandboxSetSpec::default()
        };
        let sets: Api<SandboxSet> = Api::namespaced(self.client.clone(), "default");
        let set = sets.create(&PostParams::default(), &SandboxSet::new(name, spec)).await.expect("a set");
        self.post_until_known(name).await;
        set
    }

    /// Waits until the manager lists the template.
    async fn post_until_known(&self, name: &str) {
        eventually("the template is known", || async {
            self.get(&format!("/templates/{name}")).await.0 == 200
        })
        .await;
    }

    /// One ready, unclaimed sandbox of the pool with that runtime in its pod.
    pub(crate) async fn member(&self, set: &SandboxSet, name: &str, envd: &Envd) -> Sandbox {
        let pool = set.name_any();
        let mut sandbox = Sandbox::new(
            name,
            SandboxSpec {
                template: Some(template()),
                runtimes: set.spec.runtimes.clone(),
                ..SandboxSpec::default()
            },
        );
        sandbox.metadata.owner_references = set.controller_owner_ref(&()).map(|owner| vec![owner]);
        let all = sandbox.labels_mut();
        all.insert(labels::SANDBOX_POOL.into(), pool.clone());
        all.insert(labels::SANDBOX_TEMPLATE.into(), pool);
        all.insert(labels::SANDBOX_CLAIMED.into(), "false".into());
        let sandboxes = self.sandboxes();
        sandboxes.create(&PostParams::default(), &sandbox).await.expect("a sandbox");
        self.make_ready(name, envd).await
    }

    /// What the controller does once the pod is ready.
    pub(crate) async fn make_ready(&self, name: &str, envd: &Envd) -> Sandbox {
        let sandboxes = self.sandboxes();
        let address =
            Patch::Merge(json!({"metadata": {"annotations": {annotations::RUNTIME_URL: envd.url()}}}));
        let sandbox = sandboxes.patch(name, &PatchParams::default(), &address).await.expect("there");
        let ip = envd.ip.as_str();
        let mut status = SandboxStatus {
            phase: SandboxPhase::Running,
            observed_generation: sandbox.metadata.generation,
            pod_info: Some(PodInfo { pod_ip: Some(ip.into()), ..PodInfo::default() }),
            sandbox_ip: Some(ip.into()),
            ..SandboxStatus::default()
        };
        conditions::set(&mut status.conditions, types::READY, true, "PodReady", "", Timestamp::UNIX_EPOCH);
        let patch = Patch::Merge(json!({"status": status}));
        sandboxes.patch_status(name, &PatchParams::default(), &patch).await.expect("status")
    }

    /// What the controller does once one of the pod's containers isn't ready any more.
    pub(crate) async fn make_unready(&self, name: &str) {
        let conditions = json!([{
            "type": "Ready", "status": "False", "reason": "PodReady", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
        let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
        self.sandboxes().patch_status(name, &PatchParams::default(), &patch).await.expect("patched");
    }

    /// How many sandboxes of a pool the manager could hand out now.
    pub(crate) async fn available(&self, pool: &str) -> u64 {
        let (_, debug) = self.get("/debug").await;
        debug["pools"][format!("default/{pool}")]["available"].as_u64().unwrap_or_default()
    }

    pub(crate) fn sandboxes(&self) -> Api<Sandbox> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// The product document's OSS volume.
    pub(crate) async fn oss_volume(&self, name: &str) {
        self.volume_of(contract::names::drivers::OSS, name).await;
    }

    /// The same, which may be of another driver.
    pub(crate) async fn volume_of(&self, driver: &str, name: &str) {
        let volume: PersistentVolume = from(json!({
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteMany"],
                "csi": {
                    "driver": driver, "volumeHandle": name,
                    "volumeAttributes": {"bucket": "demo", "url": "http://127.0.0.1:1", "otherOpts": "-o umask=022"},
                    "nodePublishSecretRef": {"name": "oss-secret", "namespace": "sandbox-system"},
                },
            },
        }));
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        volumes.create(&PostParams::default(), &volume).await.expect("a volume");
    }

    pub(crate) async fn oss_secret(&self, data: Value) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "sandbox-system");
        let secret: Secret = from(json!({"metadata": {"name": "oss-secret"}, "stringData": data}));
        secrets.create(&PostParams::default(), &secret).await.expect("a secret");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn request(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request = self.http.request(method, self.url(path)).header("x-api-key", KEY);
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request.send().await.expect("an answer")).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.request(reqwest::Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.request(reqwest::Method::POST, path, Some(body)).await
    }

    /// Creates a sandbox from [`POOL`] that must succeed.
    pub(crate) async fn create(&self, body: Value) -> Value {
        let mut all = json!({"templateID": POOL, "metadata": {}});
        for (key, value) in body.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let (status, created) = self.post("/v2/sandboxes", all).await;
        assert_eq!(status, 201, "{created}");
        created
    }

    /// The kinds of what the journal holds about sandboxes' claims, in order.
    pub(crate) fn milestones(&self) -> Vec<String> {
        let entries = self.journal.entries();
        entries
            .iter()
            .filter(|entry| entry.subject.starts_with("Sandbox/"))
            .map(|entry| entry.kind.clone())
            .collect()
    }

    /// Nothing that the manager wrote shows the Secret's values.
    pub(crate) async fn assert_no_secret(&self, more: &[&Value]) {
        let mut texts: Vec<String> = more.iter().map(ToString::to_string).collect();
        texts.extend(
            self.journal.entries().iter().map(|entry| serde_json::to_string(&**entry).expect("JSON")),
        );
        for sandbox in self.sandboxes().list(&kube::api::ListParams::default()).await.expect("a list") {
            texts.push(serde_json::to_string(&sandbox).expect("JSON"));
        }
        for secret in [AK_ID, AK_SECRET] {
            for needle in journal::secrecy::encodings(secret) {
                assert!(texts.iter().all(|text| !text.contains(&needle)), "{needle} is shown");
            }
        }
    }
}

pub(crate) async fn answer(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    let body = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    (status, body)
}

/// Asks until it holds; a named limit instead of a sleep.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let asked = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, asked).await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"));
}

pub(crate) fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of that kind")
}

pub(crate) async fn ensure_namespace(client: &Client, name: &str) {
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    if namespaces.get_opt(name).await.expect("an answer").is_none() {
        let namespace = from(json!({"metadata": {"name": name}}));
        namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
    }
}

async fn install_definitions(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in contract::crd::all() {
        if definitions.get_opt(&definition.name_any()).await.expect("an answer").is_none() {
            definitions.create(&PostParams::default(), &definition).await.expect("a definition");
        }
    }
}

fn template() -> Value {
    json!({
        "metadata": {"labels": {"app": "demo"}},
        "spec": {"containers": [{
            "name": "sandbox", "image": "demo",
            "resources": {"limits": {"cpu": "2", "memory": "512Mi"}},
        }]},
    })
}
