//! A double of a lab: the E2B API by wiremock, a journal that the test feeds, and a ledger of leftovers.
#![allow(dead_code, reason = "each test program that shares this module uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use clock::SystemClock;
use journal::Journal;
use lab::{
    Access, Backend, Capability, Fault, FaultHandle, Lab, LabError, Leftover, Mount, SharedPart, UpOptions,
};
use scenario::{Options, Silent, Summary};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

pub(crate) const SECRET: &str = "the-secret-value-of-the-key";

/// Source, kind, subject and body of an entry.
pub(crate) type EventOf = (&'static str, &'static str, String, Value);

/// What the double does besides answering.
#[derive(Clone, Default)]
pub(crate) struct Script {
    /// Entries that are in the journal when the lab is up: source, kind, subject, body.
    pub(crate) entries: Vec<EventOf>,
    /// Entries that come when a mount table is read.
    pub(crate) on_mounts: Vec<EventOf>,
    /// Entries that the journal gets when it catches up.
    pub(crate) on_catch_up: Vec<EventOf>,
    /// Entries that come only after that.
    pub(crate) later: Vec<EventOf>,
    /// What each inventory shows; the last one stays.
    pub(crate) leftovers: Vec<Vec<Leftover>>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) missing: Vec<Capability>,
    /// What its labs have in common.
    pub(crate) shared: Vec<SharedPart>,
    pub(crate) up_error: bool,
    pub(crate) down_error: bool,
    /// Its labs go down aside, and the first to come up is not down before another one was up with it.
    pub(crate) down_aside: bool,
}

pub(crate) struct Double {
    pub(crate) server: MockServer,
    pub(crate) script: Script,
    /// The labs that are up, and for each lab that came up the names of those that were up then or came up before it went.
    pub(crate) company: Arc<Mutex<Company>>,
}

#[derive(Debug, Default)]
pub(crate) struct Company {
    up: BTreeSet<String>,
    pub(crate) met: BTreeMap<String, BTreeSet<String>>,
    /// Of the labs of `met`, those that were between their first fault and their end, or their settling.
    at_work: BTreeSet<String>,
    pub(crate) met_at_work: BTreeMap<String, BTreeSet<String>>,
}

impl Company {
    fn enter(&mut self, name: &str) {
        for other in &self.up {
            self.met.entry(other.clone()).or_default().insert(name.to_owned());
        }
        self.met.entry(name.to_owned()).or_default().extend(self.up.iter().cloned());
        self.up.insert(name.to_owned());
    }

    fn work(&mut self, name: &str) {
        for other in self.at_work.iter().filter(|other| *other != name) {
            self.met_at_work.entry(other.clone()).or_default().insert(name.to_owned());
        }
        let others = self.at_work.iter().filter(|other| *other != name).cloned();
        self.met_at_work.entry(name.to_owned()).or_default().extend(others);
        self.at_work.insert(name.to_owned());
    }
}

struct DoubleLab {
    name: String,
    company: Arc<Mutex<Company>>,
    access: Access,
    journal: Journal,
    script: Script,
    inventories: Mutex<usize>,
}

impl Double {
    pub(crate) async fn new(script: Script) -> Self {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/v2/sandboxes"))
            .respond_with(ok(200, json!([])))
            .mount(&server)
            .await;
        Self { server, script, company: Arc::default() }
    }

    pub(crate) async fn answers(&self, verb: &str, route: &str, status: u16, body: Value) {
        Mock::given(method(verb)).and(path(route)).respond_with(ok(status, body)).mount(&self.server).await;
    }

    /// A sandbox can be created and killed.
    pub(crate) async fn creates(&self) {
        self.answers("POST", "/v2/sandboxes", 201, sandbox()).await;
        self.answers("DELETE", "/sandboxes/default--pool-a", 204, Value::Null).await;
    }
}

pub(crate) fn ok(status: u16, body: Value) -> ResponseTemplate {
    let template = ResponseTemplate::new(status).insert_header("x-request-id", "r1");
    if body.is_null() { template } else { template.set_body_json(body) }
}

pub(crate) fn sandbox() -> Value {
    json!({
        "sandboxID": "default--pool-a", "templateID": "pool", "clientID": "", "envdVersion": "0.2.10",
        "envdAccessToken": "token-1", "domain": "lab.test", "metadata": {"user": "alice"},
    })
}

#[async_trait]
impl Backend for Double {
    fn name(&self) -> &'static str {
        "double"
    }

    fn missing(&self, needed: &[Capability]) -> Vec<Capability> {
        needed.iter().copied().filter(|capability| self.script.missing.contains(capability)).collect()
    }

    fn shared(&self) -> &[SharedPart] {
        &self.script.shared
    }

    fn goes_down_aside(&self) -> bool {
        self.script.down_aside
    }

    async fn up(&self, options: UpOptions) -> Result<Box<dyn Lab>, LabError> {
        self.company.lock().expect("no panic").enter(&options.name);
        if self.script.up_error {
            return Err(LabError::Machine {
                backend: "double",
                missing: "/dev/fuse".into(),
                remedy: "load the module".into(),
            });
        }
        let journal = Journal::new(SystemClock::shared());
        for (source, kind, subject, body) in &self.script.entries {
            journal.record(source, kind, subject, body.clone());
        }
        let access = Access {
            e2b_url: self.server.uri(),
            e2b_key: "key-of-the-double".into(),
            e2b_domain: "lab.test".into(),
            kubeconfig: options.directory.join("kubeconfig"),
            object_store: Some(lab::ObjectStore {
                outside_endpoint: self.server.uri(),
                inside_endpoint: "http://oss.inside".into(),
                region: "lab".into(),
                access_key_id: "id".into(),
                access_key_secret: SECRET.into(),
                bucket_prefix: String::new(),
            }),
            network_file_system: None,
        };
        let script = self.script.clone();
        let (name, company) = (options.name, self.company.clone());
        Ok(Box::new(DoubleLab { name, company, access, journal, script, inventories: Mutex::new(0) }))
    }
}

#[async_trait]
impl Lab for DoubleLab {
    fn access(&self) -> &Access {
        &self.access
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }

    async fn catch_up(&self) -> Result<(), LabError> {
        let record = |journal: &Journal, entries: &[EventOf]| {
            for (source, kind, subject, body) in entries {
                journal.record(source, kind, subject, body.clone());
            }
        };
        record(&self.journal, &self.script.on_catch_up);
        let (journal, later) = (self.journal.clone(), self.script.later.clone());
        tokio::spawn(async move { record(&journal, &later) });
        Ok(())
    }

    async fn mounts(&self, _namespace: &str, _sandbox: &str) -> Result<Vec<Mount>, LabError> {
        for (source, kind, subject, body) in &self.script.on_mounts {
            self.journal.record(source, kind, subject, body.clone());
        }
        Ok(self.script.mounts.clone())
    }

    async fn advance(&self, _duration: Duration) -> Result<(), LabError> {
        Ok(())
    }

    async fn inject(&self, _fault: Fault) -> Result<FaultHandle, LabError> {
        self.company.lock().expect("no panic").work(&self.name);
        Ok(FaultHandle(1))
    }

    async fn heal(&self, _fault: FaultHandle) -> Result<(), LabError> {
        Ok(())
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>, LabError> {
        let mut taken = self.inventories.lock().expect("no panic");
        let found = self.script.leftovers.get(*taken).or(self.script.leftovers.last()).cloned();
        *taken += 1;
        Ok(found.unwrap_or_default())
    }

    async fn settle(&self) -> Result<(), LabError> {
        self.company.lock().expect("no panic").at_work.remove(&self.name);
        Ok(())
    }

    async fn down(self: Box<Self>) -> Result<(), LabError> {
        let waits = self.script.down_aside && self.company.lock().expect("no panic").met.len() == 1;
        while waits && self.company.lock().expect("no panic").met[&self.name].is_empty() {
            tokio::task::yield_now().await;
        }
        {
            let mut company = self.company.lock().expect("no panic");
            company.up.remove(&self.name);
            company.at_work.remove(&self.name);
        }
        if self.script.down_error {
            return Err(LabError::Part {
                lab: "double".into(),
                part: "mount /x".into(),
                reason: "it is busy".into(),
            });
        }
        Ok(())
    }
}

/// Writes a scenario file and runs it.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) options: Options,
    pub(crate) stop: CancellationToken,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = Options {
            jobs: 1,
            seed: 7,
            report: folder.path().join("report"),
            keep: false,
            pause_on_failure: false,
            filter: None,
            cache: folder.path().join("cache"),
            clock: SystemClock::shared(),
        };
        Self { folder, options, stop: CancellationToken::new() }
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    pub(crate) async fn run(&self, backend: &Double, text: &str) -> Summary {
        let path = self.write("scenario.yaml", text);
        let plan = scenario::load(&[path]).unwrap_or_else(|problems| panic!("{:?}", problems.problems));
        scenario::run(&plan, backend, &self.options, Arc::new(Silent), self.stop.clone())
            .await
            .expect("a report")
    }

    /// The failures as text, with what differs from run to run replaced.
    pub(crate) fn failures(&self, summary: &Summary) -> String {
        let text: Vec<_> = summary
            .scenarios
            .iter()
            .flat_map(|result| &result.failures)
            .map(scenario::Failure::render)
            .collect();
        let text = text.join("\n").replace(&self.folder.path().display().to_string(), "FOLDER");
        regex::Regex::new(r"\+\d+\.\d+ s").expect("a constant").replace_all(&text, "+0.000 s").into_owned()
    }

    pub(crate) fn report(&self, file: &str) -> String {
        let path = self.options.report.join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// A scenario document around the given parts.
pub(crate) fn document(rest: &str) -> String {
    format!("apiVersion: mountlab.dev/v1\nkind: Scenario\nmetadata: {{name: tried, covers: [R1]}}\n{rest}")
}

/// A watch event of a sandbox of the set `pool`.
pub(crate) fn pool_event(kind: &'static str, name: &str, claimed: bool) -> EventOf {
    let body = json!({
        "kind": "Sandbox",
        "metadata": {
            "name": name,
            "labels": {
                "agents.kruise.io/sandbox-pool": "pool",
                "agents.kruise.io/sandbox-claimed": claimed.to_string(),
            },
        },
    });
    ("kubernetes", kind, format!("Sandbox/default/{name}"), body)
}

pub(crate) fn leftover(owner: &str) -> Leftover {
    Leftover { kind: "mount".into(), subject: "/run/csi/mount-root/oss/x".into(), owner: owner.into() }
}
