//! What the steps of one running scenario share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clock::SharedClock;
use e2b_client::{Client, SandboxInfo, Settings};
use journal::Journal;
use journal::secrecy::Concealer;
use lab::{Access, FaultHandle, Lab, ObjectStore};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::buckets::Buckets;
use crate::objects::Objects;
use crate::read::Planned;
use crate::reference;

/// A sandbox that a step made or connected to.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) info: SandboxInfo,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// The step's title.
    pub(crate) step: String,
    /// Whether a step has ended it.
    pub(crate) ended: bool,
    /// Whether it came about without the E2B API, which then can't end it.
    pub(crate) adopted: bool,
}

impl Made {
    pub(crate) fn new(info: SandboxInfo, step: &str) -> Self {
        let resource = info.metadata.get("e2b.agents.kruise.io/sandbox-resource").cloned();
        let (namespace, pod) = resource
            .as_deref()
            .and_then(|resource| resource.split_once('/'))
            .or_else(|| info.sandbox_id.split_once("--"))
            .map_or_else(
                || (String::new(), info.sandbox_id.clone()),
                |(namespace, name)| (namespace.to_owned(), name.to_owned()),
            );
        Self { info, namespace, pod, step: step.to_owned(), ended: false, adopted: false }
    }

    fn value(&self) -> Value {
        let mut value = serde_json::to_value(&self.info).unwrap_or_default();
        if let Some(members) = value.as_object_mut() {
            members.insert("id".into(), self.info.sandbox_id.clone().into());
            members.insert("namespace".into(), self.namespace.clone().into());
            members.insert("pod".into(), self.pod.clone().into());
        }
        value
    }
}

#[derive(Default)]
struct Names {
    sandboxes: BTreeMap<String, Made>,
    every: Vec<Made>,
    outcomes: BTreeMap<String, Value>,
    faults: BTreeMap<String, FaultHandle>,
}

/// Why a step could not be carried out at all.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StepError(pub(crate) String);

impl StepError {
    /// An error with its causes, the innermost last.
    pub(crate) fn of(error: &dyn std::error::Error) -> Self {
        Self(lab::chain(error))
    }
}

/// One running scenario.
pub(crate) struct Context<'a> {
    pub(crate) planned: &'a Planned,
    pub(crate) lab: &'a dyn Lab,
    pub(crate) client: Client,
    pub(crate) placeholders: BTreeMap<String, String>,
    pub(crate) cache: PathBuf,
    pub(crate) clock: SharedClock,
    objects: OnceCell<Objects>,
    names: Arc<Mutex<Names>>,
    concealer: Mutex<Concealer>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        planned: &'a Planned,
        lab: &'a dyn Lab,
        cache: PathBuf,
        clock: SharedClock,
    ) -> Result<Self, StepError> {
        let access = lab.access();
        let mut settings = Settings::new(&access.e2b_url, &access.e2b_key);
        settings.request_limit = planned.scenario.limits.step.0;
        let client = Client::new(settings).map_err(|error| StepError::of(&error))?;
        let placeholders = placeholders(planned, access);
        let context = Self {
            planned,
            lab,
            client,
            placeholders,
            cache,
            clock,
            objects: OnceCell::new(),
            names: Arc::default(),
            concealer: Mutex::default(),
        };
        let secrets = [
            context.placeholders.get("YOUR_ACCESS_KEY_ID"),
            context.placeholders.get("YOUR_ACCESS_KEY_SECRET"),
            access.object_store.as_ref().map(|store| &store.access_key_secret),
            Some(&access.e2b_key),
        ];
        for secret in secrets.into_iter().flatten() {
            context.guard(secret);
        }
        Ok(context)
    }

    pub(crate) fn journal(&self) -> &Journal {
        self.lab.journal()
    }

    /// From now on nothing may show `secret`.
    fn guard(&self, secret: &str) {
        self.journal().guard(secret);
        self.lock_concealer().guard(secret);
    }

    /// Guards what a Secret holds, given the object or a part of it.
    pub(crate) fn guard_contents(&self, secret: &Value) {
        let texts = |member: &str| {
            let members = secret.get(member).and_then(Value::as_object).into_iter().flatten();
            members.filter_map(|(_, value)| value.as_str()).map(str::to_owned).collect::<Vec<_>>()
        };
        for plain in texts("stringData") {
            self.guard(plain.trim());
        }
        for encoded in texts("data") {
            let decoded =
                BASE64_STANDARD.decode(&encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            self.guard(decoded.as_deref().unwrap_or(&encoded).trim());
        }
    }

    /// What is guarded so far.
    pub(crate) fn concealer(&self) -> Concealer {
        self.lock_concealer().clone()
    }

    /// Takes secrets out of a text that is about to be shown or kept.
    pub(crate) fn conceal(&self, text: &str) -> String {
        self.lock_concealer().conceal_text(text)
    }

    pub(crate) fn conceal_value(&self, value: Value) -> Value {
        self.lock_concealer().conceal_value(value)
    }

    fn lock_concealer(&self) -> MutexGuard<'_, Concealer> {
        self.concealer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Kubernetes API, connected to on first use.
    pub(crate) async fn objects(&self) -> Result<&Objects, StepError> {
        let connect = || Objects::connect(&self.lab.access().kubeconfig);
        self.objects.get_or_try_init(connect).await.map_err(|error| StepError::of(&error))
    }

    /// The object store as a client outside sees it.
    pub(crate) fn buckets(&self) -> Result<Buckets, StepError> {
        let store = self.store()?;
        Buckets::new(store, self.clock.clone()).map_err(|error| StepError::of(&error))
    }

    fn store(&self) -> Result<&ObjectStore, StepError> {
        let store = self.lab.access().object_store.as_ref();
        store.ok_or_else(|| StepError("this backend has no object store of its own".to_owned()))
    }

    /// The bucket that a step means when it names none.
    pub(crate) fn default_bucket(&self) -> Result<String, StepError> {
        let buckets = &self.planned.scenario.storage.oss;
        let named = buckets.keys().next().or_else(|| self.placeholders.get("OSS_BUCKET"));
        named.cloned().ok_or_else(|| StepError("the scenario has no bucket under `storage.oss`".to_owned()))
    }

    pub(crate) fn remember_sandbox(&self, name: Option<&String>, made: Made) {
        let mut names = self.lock();
        if let Some(name) = name {
            names.outcomes.insert(name.clone(), made.value());
            names.sandboxes.insert(name.clone(), made.clone());
        }
        if !names.every.iter().any(|known| known.info.sandbox_id == made.info.sandbox_id) {
            names.every.push(made);
        }
    }

    /// Notes that a step has ended the sandbox of this id.
    pub(crate) fn remember_end(&self, id: &str) {
        for made in self.lock().every.iter_mut().filter(|made| made.info.sandbox_id == id) {
            made.ended = true;
        }
    }

    pub(crate) fn remember_outcome(&self, name: &str, outcome: Value) {
        self.lock().outcomes.insert(name.to_owned(), outcome);
    }

    pub(crate) fn remember_fault(&self, name: &str, fault: FaultHandle) {
        self.lock().faults.insert(name.to_owned(), fault);
    }

    pub(crate) fn fault(&self, name: &str) -> Result<FaultHandle, StepError> {
        self.lock().faults.get(name).copied().ok_or_else(|| StepError(format!("no fault is called {name}")))
    }

    /// Every sandbox that a step made.
    pub(crate) fn sandboxes(&self) -> Vec<Made> {
        self.lock().every.clone()
    }

    /// The sandbox that a step gave this name.
    pub(crate) fn sandbox(&self, name: &str) -> Result<Made, StepError> {
        self.lock()
            .sandboxes
            .get(name)
            .cloned()
            .ok_or_else(|| StepError(format!("there is no sandbox {name}: the step that names it made none")))
    }

    /// The id that a step means: of a named sandbox, or the text itself.
    pub(crate) fn sandbox_id(&self, name: &str) -> String {
        self.lock().sandboxes.get(name).map_or_else(|| name.to_owned(), |made| made.info.sandbox_id.clone())
    }

    /// `text` with its references replaced.
    pub(crate) fn fill(&self, text: &str) -> Result<String, StepError> {
        reference::substitute(text, &|name| self.lookup(name)).map_err(|error| StepError::of(&error))
    }

    /// The same for every text in a value.
    pub(crate) fn fill_value(&self, value: &Value) -> Result<Value, StepError> {
        reference::substitute_value(value, &|name| self.lookup(name)).map_err(|error| StepError::of(&error))
    }

    /// The same for the values of a mapping.
    pub(crate) fn fill_map(
        &self,
        map: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, StepError> {
        map.iter().map(|(key, value)| Ok((self.fill(key)?, self.fill(value)?))).collect()
    }

    fn lookup(&self, name: &str) -> Option<Value> {
        let access = self.lab.access();
        match name {
            "lab" => Some(json!({
                "e2bUrl": access.e2b_url,
                "e2bDomain": access.e2b_domain,
                "kubeconfig": access.kubeconfig,
            })),
            "oss" => access.object_store.as_ref().map(|store| {
                json!({
                    "bucket": self.default_bucket().unwrap_or_default(),
                    "endpoint": store.outside_endpoint,
                    "insideEndpoint": store.inside_endpoint,
                    "insideHost": host(&store.inside_endpoint),
                    "region": store.region,
                    "accessKeyId": store.access_key_id,
                })
            }),
            "nas" => access.network_file_system.as_ref().map(|server| {
                json!({
                    "server": server.inside_server,
                    "outsideServer": server.outside_address.ip().to_string(),
                    "outsidePort": server.outside_address.port(),
                })
            }),
            name => self.lock().outcomes.get(name).cloned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lab's own values, and over them the scenario's.
fn placeholders(planned: &Planned, access: &Access) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    if let Some(server) = &access.network_file_system {
        values.insert("NAS_SERVER".to_owned(), server.inside_server.clone());
    }
    if let Some(store) = &access.object_store {
        values.insert("YOUR_ACCESS_KEY_ID".to_owned(), store.access_key_id.clone());
        values.insert("YOUR_ACCESS_KEY_SECRET".to_owned(), store.access_key_secret.clone());
        values.insert("OSS_ENDPOINT".to_owned(), store.inside_endpoint.clone());
    }
    if let Some(bucket) = planned.scenario.storage.oss.keys().next() {
        values.insert("OSS_BUCKET".to_owned(), bucket.clone());
    }
    values.extend(planned.scenario.placeholders.clone());
    values
}

/// The host of an address such as `http://10.88.0.1:9000`.
fn host(endpoint: &str) -> &str {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}
