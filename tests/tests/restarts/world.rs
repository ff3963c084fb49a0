//! A lab with a pool, what a user does in it, and what must be true of it again and again.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use clock::SystemClock;
use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxPhase, SandboxSet};
use contract::names::{annotations, labels};
use contract::sleep::Sleep;
use contract::state;
use e2b_client::{Client, ClientError, Command, CreateRequest, Settings, VolumeMount};
use journal::Journal;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use lab::{Backend as _, Fault, Lab, Mount, Sharing, UpOptions};
use lab_embedded::Embedded;
use serde_json::json;
use system_tests::{Kubectl, fixture, program};

const BUCKET: &str = "demo-bucket";
const POOL: &str = "small-pool";
const REPLICAS: usize = 2;
/// How long the lab may take to come up.
const START_LIMIT: Duration = Duration::from_mins(2);
/// How long anything else may take.
const LIMIT: Duration = Duration::from_mins(2);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// After that a cleaned sandbox goes back to its pool.
const GRACE: Duration = Duration::from_secs(11);
/// After that a claim that nobody acknowledged is nobody's: its bound and the collector's interval.
const ABANDONED: Duration = Duration::from_secs(200);

/// What a user was answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// Success, with the sandbox's id.
    Done(String),
    /// An error with a message.
    Refused(u16, String),
    /// The connection broke or was refused.
    None,
}

impl Answer {
    fn of(id: impl Into<String>, outcome: Result<(), ClientError>) -> Self {
        match outcome {
            Ok(()) => Self::Done(id.into()),
            Err(error) => match error.refusal() {
                Some(refusal) => {
                    assert!(!refusal.message.is_empty(), "an error without a word: {refusal:?}");
                    Self::Refused(refusal.status, refusal.message.clone())
                }
                None => Self::None,
            },
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    pub(super) fn expect_done(self, what: &str) -> String {
        match self {
            Self::Done(id) => id,
            other => panic!("{what}: {other:?}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(_) => formatter.write_str("done"),
            Self::Refused(status, message) => write!(formatter, "{status} {message}"),
            Self::None => formatter.write_str("no answer, done when asked again"),
        }
    }
}

pub(super) struct World {
    name: String,
    /// Whether sandboxes go back to their pool at their end.
    recycles: bool,
    lab: Box<dyn Lab>,
    e2b: Client,
    kubernetes: kube::Client,
    handed_out: HashSet<String>,
    /// The last rounds, for the message of a failure.
    notes: Mutex<Vec<String>>,
    _folder: tempfile::TempDir,
}

impl World {
    /// A lab with a pool, whose sandboxes go back there at their end if it `recycles`.
    pub(super) async fn up(name: &str, recycles: bool) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let up = UpOptions {
            name: name.to_owned(),
            seed: 1,
            directory: folder.path().to_path_buf(),
            deadline: START_LIMIT,
            needed: Vec::new(),
            sharing: Sharing::of_everything(),
        };
        let backend = Embedded::new(program(), SystemClock::shared());
        let lab = backend.up(up).await.expect("the lab comes up");
        let access = lab.access().clone();
        let store = access.object_store.as_ref().expect("an object store");
        scenario::create_bucket(store, BUCKET, SystemClock::shared()).await.expect("a bucket");
        let secret = fixture(
            "oss-secret.yaml",
            &[
                ("<YOUR_ACCESS_KEY_ID>", &store.access_key_id),
                ("<YOUR_ACCESS_KEY_SECRET>", &store.access_key_secret),
            ],
        );
        let volume = fixture(
            "oss-pv-sandbox-system.yaml",
            &[("<OSS_BUCKET>", BUCKET), ("<OSS_ENDPOINT>", &store.inside_endpoint)],
        );
        let mut pool = fixture("small-pool.yaml", &[]);
        if recycles {
            let label = "        alibabacloud.com/acs: \"true\"\n";
            let annotations = "      annotations:\n        agents.kruise.io/cleanup-enabled: \"true\"\n";
            pool = pool.replacen(label, &format!("{label}{annotations}"), 1);
            assert!(pool.contains("cleanup-enabled"), "the template has an annotation: {pool}");
        }
        let kubectl = Kubectl::new(&access.kubeconfig);
        let documents = [secret, volume, pool].join("\n---\n");
        // every lab of this test is on one task: who blocks it lets the deadlines of the others pass
        let fed = tokio::task::spawn_blocking(move || kubectl.feed(&["create"], &documents));
        fed.await.expect("created");
        let kubeconfig = kube::config::Kubeconfig::read_from(&access.kubeconfig).expect("a kubeconfig");
        let options = kube::config::KubeConfigOptions::default();
        let configuration =
            kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("one that is right");
        Self {
            name: name.to_owned(),
            recycles,
            e2b: Client::new(Settings::new(&access.e2b_url, &access.e2b_key)).expect("a client"),
            kubernetes: kube::Client::try_from(configuration).expect("a client"),
            lab,
            handed_out: HashSet::new(),
            notes: Mutex::default(),
            _folder: folder,
        }
    }

    pub(super) async fn down(self) {
        self.lab.down().await.expect("nothing is left of the lab");
    }

    pub(super) fn journal(&self) -> &Journal {
        self.lab.journal()
    }

    pub(super) async fn inject(&self, fault: Fault) {
        self.lab.inject(fault).await.expect("a kill");
    }

    pub(super) fn note(&self, text: &str) {
        self.notes.lock().expect("unpoisoned").push(text.to_owned());
    }

    pub(super) async fn create(&self) -> Answer {
        let request = CreateRequest {
            template: POOL.to_owned(),
            timeout: Some(80_000),
            metadata: BTreeMap::new(),
            volume_mounts: vec![VolumeMount {
                name: "oss-pv-sandbox-system".into(),
                path: "/data-oss".into(),
            }],
            ..CreateRequest::default()
        };
        match self.e2b.create(&request).await {
            Ok(reply) => Answer::Done(reply.value.sandbox_id),
            Err(error) => Answer::of("", Err(error)),
        }
    }

    pub(super) async fn pause(&self, id: &str) -> Answer {
        Answer::of(id, self.e2b.pause(id).await.map(drop))
    }

    pub(super) async fn resume(&self, id: &str) -> Answer {
        Answer::of(id, self.e2b.connect(id, None).await.map(drop))
    }

    /// Gives it another image by a patch, and waits until it is ready with that. Kubernetes itself isn't killed.
    pub(super) async fn upgrade(&self, id: &str) -> Answer {
        let name = name_of(id);
        let sandboxes: Api<Sandbox> = Api::default_namespaced(self.kubernetes.clone());
        let mut template = sandboxes.get(name).await.expect("the sandbox").spec.template.expect("a template");
        let image = &mut template["spec"]["containers"][0]["image"];
        *image = json!(format!("{}-upgraded", image.as_str().expect("an image")));
        let patch = Patch::Merge(json!({"spec": {"template": template}}));
        let patched = sandboxes.patch(name, &PatchParams::default(), &patch).await.expect("patched");
        self.until("upgrade deadline", async || {
            let sandbox = sandboxes.get(name).await.map_err(|error| error.to_string())?;
            let told = sandbox.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
            let updated = conditions::find(&told, types::INPLACE_UPDATE).is_some_and(|updated| {
                updated.status == "True" && updated.observed_generation >= patched.metadata.generation
            });
            (updated && state::is_ready(&sandbox)).then_some(()).ok_or(format!("{told:?}"))
        })
        .await;
        Answer::Done(id.to_owned())
    }

    /// Ends it, and waits until it is in its pool again or gone. The grace period of the new pod passes at once.
    pub(super) async fn recycle(&self, id: &str) -> Answer {
        match self.e2b.kill(id).await {
            Ok(_) => {}
            // an earlier call was heard, and not answered
            Err(error) if error.refusal().is_some_and(|refusal| refusal.status == 404) => {}
            Err(error) => return Answer::of(id, Err(error)),
        }
        let cleaned = async || match self.sandbox(id).await? {
            None => Ok(false),
            Some(sandbox) if is_back(&sandbox) => Ok(false),
            Some(sandbox) => {
                let told = sandbox.status.as_ref().map_or(&[][..], |status| &status.conditions);
                let told = conditions::find(told, types::RECYCLING);
                let is_clean = told.is_some_and(|told| told.reason == reasons::RECYCLING_COMPLETED);
                is_clean.then_some(true).ok_or_else(|| tell(&[sandbox]))
            }
        };
        if self.until("deadline of cleaning", cleaned).await {
            self.lab.advance(GRACE).await.expect("a clock that can be moved");
        }
        self.until("deadline of going back to the pool", async || match self.sandbox(id).await? {
            Some(sandbox) if !is_back(&sandbox) => Err(tell(&[sandbox])),
            _ => Ok(()),
        })
        .await;
        Answer::Done(id.to_owned())
    }

    /// It is in its pool again. Or it took too long on a busy machine, was told of and is gone. Nobody who takes one of the
    /// pool finds a mount.
    pub(super) async fn expect_recycled(&self, id: &str) {
        self.settle().await;
        if let Some(sandbox) = self.until("deadline of a look", async || self.sandbox(id).await).await {
            let is_back = is_back(&sandbox) && state::is_ready(&sandbox);
            assert!(is_back, "{}: {}", self.name, tell(&[sandbox]));
        } else {
            let subject = format!("Sandbox/default/{}", name_of(id));
            let entries = self.journal().entries();
            let states = entries.iter().filter(|entry| entry.subject == subject);
            let states: Vec<_> = states.map(|entry| entry.body["status"].to_string()).collect();
            let is_told = states.iter().any(|state| state.contains(reasons::RECYCLING_TIMEOUT));
            assert!(is_told, "{}: {id} did not go back to its pool:\n{}", self.name, states.join("\n"));
        }
        for sandbox in self.until("listing deadline", async || self.sandboxes().await).await {
            let storage = self.storage_of(&sandbox.name_any()).await;
            assert!(storage.is_empty(), "{}: {} has {storage:?}", self.name, sandbox.name_any());
        }
    }

    /// Has the pool make no others from now on, where sandboxes come back to it, or lets it be filled again. The controller
    /// has heard of it.
    pub(super) async fn hold_pool(&self, holds: bool) {
        if !self.recycles {
            return;
        }
        let sets: Api<SandboxSet> = Api::default_namespaced(self.kubernetes.clone());
        let spec = json!({"scaleStrategy": {"maxUnavailable": holds.then_some(0)}});
        let patch = Patch::Merge(json!({"spec": spec}));
        let patched = sets.patch(POOL, &PatchParams::default(), &patch).await.expect("patched");
        self.until("deadline of the pool's controller", async || {
            let set = sets.get(POOL).await.map_err(|error| error.to_string())?;
            let heard = set.status.as_ref().and_then(|status| status.observed_generation);
            (heard >= patched.metadata.generation).then_some(()).ok_or(format!("{:?}", set.status))
        })
        .await;
    }

    /// Asks again until it is done: what was refused or not answered is done in the end.
    pub(super) async fn insist(&self, ask: impl AsyncFn(&Self) -> Answer) -> Answer {
        self.until("deadline of asking again", async || {
            let answer = ask(self).await;
            if answer.is_done() { Ok(answer) } else { Err(answer.to_string()) }
        })
        .await
    }

    /// A sandbox is handed out once.
    pub(super) fn expect_new(&mut self, id: &str) {
        assert!(self.handed_out.insert(id.to_owned()), "{}: {id} was handed out twice", self.name);
    }

    async fn command(&self, id: &str, line: &str) -> String {
        self.until("deadline of a command", async || {
            let info = self.e2b.get(id).await.map_err(|error| error.to_string())?.value;
            let output =
                self.e2b.sandbox(&info).run(&Command::new(line)).await.map_err(|error| error.to_string())?;
            if output.exit_code == 0 { Ok(output.stdout) } else { Err(format!("{output:?}")) }
        })
        .await
    }

    /// Writes a file through the volume, which is mounted.
    pub(super) async fn save(&self, id: &str) {
        let name = name_of(id);
        let line =
            format!("grep -q ' fuse' /proc/mounts && echo {name} > /data-oss/{name} && cat /data-oss/{name}");
        assert_eq!(self.command(id, &line).await.trim(), name, "{}", self.name);
    }

    /// What was saved is there, and more can be.
    pub(super) async fn expect_saved(&self, id: &str) {
        let name = name_of(id);
        let line = format!(
            "cat /data-oss/{name} && echo {name} > /data-oss/{name}-again && cat /data-oss/{name}-again"
        );
        assert_eq!(self.command(id, &line).await, format!("{name}\n{name}\n"), "{}", self.name);
        let storage = self.storage_of(name).await;
        assert_eq!(storage.len(), 1, "{}: {storage:?}", self.name);
    }

    /// The volumes that are mounted in a sandbox. Looking takes too long on a busy machine now and then.
    async fn storage_of(&self, name: &str) -> Vec<Mount> {
        let mounts = self.until("deadline of a mount table", async || {
            self.lab.mounts("default", name).await.map_err(|error| error.to_string())
        });
        mounts.await.into_iter().filter(|mount| mount.file_system.starts_with("fuse")).collect()
    }

    pub(super) async fn until_paused(&self, id: &str) {
        let pods: Api<Pod> = Api::default_namespaced(self.kubernetes.clone());
        self.until("pause deadline", async || {
            let info = self.e2b.get(id).await.map_err(|error| error.to_string())?.value;
            let pod = pods.get_opt(name_of(id)).await.map_err(|error| error.to_string())?;
            let sleep = pod.as_ref().map(Sleep::of);
            let is_over = matches!(sleep, None | Some(Sleep::Asleep));
            let is_paused = info.state.as_deref() == Some("paused") && is_over;
            is_paused.then_some(()).ok_or(format!("{:?}, its pod: {sleep:?}", info.state))
        })
        .await;
    }

    /// Ends the sandbox.
    pub(super) async fn end(&self, id: &str) {
        self.until("deadline of a kill", async || match self.e2b.kill(id).await {
            Ok(_) => Ok(()),
            Err(error) if error.refusal().is_some_and(|refusal| refusal.status == 404) => Ok(()),
            Err(error) => Err(error.to_string()),
        })
        .await;
    }

    /// The pool is full, and the journal has heard of all that was done.
    pub(super) async fn settle(&self) {
        self.until_full().await;
        self.lab.catch_up().await.expect("a journal that catches up");
    }

    async fn sandboxes(&self) -> Result<Vec<Sandbox>, String> {
        let all: Api<Sandbox> = Api::all(self.kubernetes.clone());
        Ok(all.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items)
    }

    async fn sandbox(&self, id: &str) -> Result<Option<Sandbox>, String> {
        let all: Api<Sandbox> = Api::default_namespaced(self.kubernetes.clone());
        all.get_opt(name_of(id)).await.map_err(|error| error.to_string())
    }

    /// The pool has as many sandboxes as it should, all of them ready, and no more. One may be missing that comes back.
    async fn until_full(&self) {
        let least = if self.recycles { REPLICAS - 1 } else { REPLICAS };
        self.until("warm pool deadline", async || {
            let all = self.sandboxes().await?;
            let pooled: Vec<_> = all.iter().filter(|it| !is_claimed(it)).collect();
            let is_full =
                (least..=REPLICAS).contains(&pooled.len()) && pooled.iter().all(|it| state::is_ready(it));
            is_full.then_some(()).ok_or_else(|| tell(&all))
        })
        .await;
    }

    /// Nothing is there but a full pool: nobody's sandbox was lost, and nothing was left by those that are gone.
    ///
    /// A sandbox that was handed out without its user hearing of it is told of by the API, and ended here as its user would;
    /// one whose claim nobody acknowledged is collected once its time has passed.
    pub(super) async fn until_clean(&self) {
        let claimed: Vec<_> = self
            .until("listing deadline", async || self.sandboxes().await)
            .await
            .into_iter()
            .filter(|it| is_claimed(it) && it.metadata.deletion_timestamp.is_none())
            .collect();
        if claimed.iter().any(is_unacknowledged) {
            self.lab.advance(ABANDONED).await.expect("a clock that can be moved");
        }
        for name in claimed.iter().filter(|it| !is_unacknowledged(it)).map(kube::ResourceExt::name_any) {
            self.until("deadline of telling whose a sandbox is", async || {
                let query = e2b_client::ListQuery::default();
                let listed = self.e2b.list(&query).await.map_err(|error| error.to_string())?;
                let is_listed = listed.iter().any(|info| name_of(&info.sandbox_id) == name);
                let is_gone = !self.sandboxes().await?.iter().any(|it| it.name_any() == name);
                (is_listed || is_gone)
                    .then_some(())
                    .ok_or(format!("{name} is somebody's, and nobody is told"))
            })
            .await;
            self.end(&format!("default--{name}")).await;
        }
        let pods: Api<Pod> = Api::all(self.kubernetes.clone());
        self.until("deadline of a clean lab", async || {
            let all = self.sandboxes().await?;
            if all.len() != REPLICAS || !all.iter().all(|it| !is_claimed(it) && state::is_ready(it)) {
                return Err(tell(&all));
            }
            let pods = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
            let names: Vec<_> = pods.iter().map(kube::ResourceExt::name_any).collect();
            if names.len() != REPLICAS || !all.iter().all(|it| names.contains(&it.name_any())) {
                return Err(format!("pods {names:?} of {}", tell(&all)));
            }
            let left = self.lab.leftovers().await.map_err(|error| error.to_string())?;
            if left.is_empty() { Ok(()) } else { Err(format!("left over: {left:?}")) }
        })
        .await;
    }

    async fn until<T>(&self, deadline: &str, look: impl AsyncFn() -> Result<T, String>) -> T {
        let started = tokio::time::Instant::now();
        loop {
            match look().await {
                Ok(value) => return value,
                Err(last) if started.elapsed() >= LIMIT => {
                    let notes = self.notes.lock().expect("unpoisoned").join("\n");
                    panic!(
                        "{}: {deadline} of {LIMIT:?} passed; last state: {last}\nrounds so far:\n{notes}",
                        self.name
                    )
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

fn name_of(id: &str) -> &str {
    id.split_once("--").map_or(id, |(_, name)| name)
}

fn is_claimed(sandbox: &Sandbox) -> bool {
    sandbox.labels().get(labels::SANDBOX_CLAIMED).is_some_and(|value| value == "true")
}

/// Whether it was recycled and is its pool's, which may have taken it before.
fn is_back(sandbox: &Sandbox) -> bool {
    let status = sandbox.status.as_ref();
    !is_claimed(sandbox)
        && state::owning_set(sandbox).is_some()
        && status.is_some_and(|it| it.phase == SandboxPhase::Running && it.recycled_count.is_some())
}

fn is_unacknowledged(sandbox: &Sandbox) -> bool {
    sandbox.annotations().contains_key(annotations::CLAIM_UNACKNOWLEDGED_UNTIL)
}

fn tell(all: &[Sandbox]) -> String {
    let each = all.iter().map(|it| {
        let status = it.status.clone().unwrap_or_default();
        let conditions: Vec<_> =
            status.conditions.iter().map(|it| format!("{}={}/{}", it.type_, it.status, it.reason)).collect();
        let deleted = it.metadata.deletion_timestamp.is_some();
        format!(
            "{} {:?} claimed {} deleted {deleted} {conditions:?}",
            it.name_any(),
            status.phase,
            is_claimed(it)
        )
    });
    each.collect::<Vec<_>>().join("; ")
}
