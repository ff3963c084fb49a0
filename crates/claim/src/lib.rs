//! Taking a sandbox from the warm pool and making it somebody's (`kubernetes.md` §3.7, `storage.md` §3.1).
//!
//! ```text
//! pick ──► take (one write) ──► ready? ──► POST /init ──► mounts ──► Prepared ──► acknowledge
//!  ▲         │ 409: somebody else was faster        │ any failure, or the caller is gone
//!  └─────────┘                                      └──► Guard dropped: undo mounts, delete or keep
//! ```
//!
//! From the write on, a guard owns the half-claimed sandbox: whatever ends the claim early, an error, a deadline or a
//! caller who goes away, drops the guard, and that starts the cleanup. If the whole process dies, the annotation
//! `claim-unacknowledged-until` is still there and the janitor of the next one collects the sandbox.
//!
//! A clone of a checkpoint is claimed the same way, only that it is always made and never picked.
//!
//! The manager claims for users of the E2B API, the controller for `SandboxClaims`. Each brings what it knows of the
//! sandboxes as a [`Cache`], and says in a [`ClaimRequest`] whose the sandbox becomes and with what.

mod cache;
mod change;
mod fresh;
mod guard;
mod janitor;
mod pick;
mod ready;
mod request;
mod take;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::SharedClock;
use contract::crd::Sandbox;
use contract::errors::{Code, Problem};
use contract::names::labels;
use jiff::Timestamp;
use journal::Journal;
use kube::{Api, Client, ResourceExt as _};
use runtime_client::{Handshake, RuntimeClient};
use serde_json::json;
use tokio::time::Instant;

pub use cache::{Cache, Cached, Key};
pub use change::check_change;
pub use fresh::generated_name;
pub use request::{ClaimRequest, CloneName, EmptyPool, Origin, check_runtimes};

use guard::Guard;
use take::Taken;

/// Claims sandboxes; clones share everything.
#[derive(Clone, Debug)]
pub struct Claimer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: ClaimerOptions,
    busy: Arc<Mutex<HashSet<String>>>,
}

/// What a claimer is given.
pub struct ClaimerOptions {
    /// Access to the API server.
    pub client: Client,
    /// Tells the time that deadlines are counted from.
    pub clock: SharedClock,
    /// The sandboxes, kept up to date by whoever owns this claimer.
    pub sandboxes: Arc<Cache<Sandbox>>,
    /// Talks to the runtimes.
    pub runtime: RuntimeClient,
    /// How long the mounts of one claim may take together.
    pub mount_deadline: Duration,
    /// Keeps access tokens out of this journal.
    pub journal: Option<Journal>,
    /// Source under which the steps of a claim are noted in the journal; absent means that they are not.
    pub milestones: Option<&'static str>,
}

impl fmt::Debug for ClaimerOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClaimerOptions")
            .field("mount_deadline", &self.mount_deadline)
            .finish_non_exhaustive()
    }
}

/// Why there is no sandbox. Its `Display` is the problem's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct ClaimError {
    /// What went wrong, for the user.
    pub problem: Problem,
    /// Namespace and name of the sandbox that was taken and given back; absent when none was.
    pub sandbox: Option<Key>,
}

impl From<Problem> for ClaimError {
    fn from(problem: Problem) -> Self {
        Self { problem, sandbox: None }
    }
}

/// A sandbox that is ready for its new owner; dropped unacknowledged, it is given back.
#[derive(Debug)]
pub struct Prepared {
    sandbox: Arc<Sandbox>,
    guard: Guard,
}

impl Prepared {
    /// The sandbox.
    pub fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    /// Marks the sandbox as handed out.
    ///
    /// # Errors
    /// The write's failure; the sandbox is then given back.
    pub async fn acknowledge(self) -> Result<Arc<Sandbox>, ClaimError> {
        let key = cache::key_of(self.sandbox.as_ref());
        self.guard.acknowledge().await.map_err(|problem| ClaimError { problem, sandbox: Some(key) })
    }
}

/// Marks a sandbox as being worked on; taken off when dropped.
#[derive(Debug)]
struct Busy {
    busy: Arc<Mutex<HashSet<String>>>,
    uid: String,
}

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.busy).remove(&self.uid);
    }
}

fn lock(busy: &Mutex<HashSet<String>>) -> MutexGuard<'_, HashSet<String>> {
    busy.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a claim's attempt on one sandbox failed.
struct Failed {
    problem: Problem,
    /// Whether another sandbox may do better.
    retriable: bool,
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self { problem, retriable: false }
    }
}

impl Claimer {
    /// A claimer that nobody uses yet.
    pub fn new(options: ClaimerOptions) -> Self {
        Self { shared: Arc::new(Shared { options, busy: Arc::default() }) }
    }

    /// Talks to the runtimes.
    pub fn runtime(&self) -> &RuntimeClient {
        &self.shared.options.runtime
    }

    /// Claims a sandbox: ready, initialised, everything mounted. Dropping the future gives it back.
    ///
    /// Tries one sandbox and, when its runtime can't be initialised, other members of the pool, as many as the request
    /// says; none is made for a second try, it would fail the same way and cost the caller a minute.
    ///
    /// # Errors
    /// The last sandbox's problem, or that there is none to take.
    pub async fn claim(&self, request: ClaimRequest) -> Result<Prepared, ClaimError> {
        let request = Arc::new(request);
        let mut next = Some(self.take(&request).await?);
        let mut tried = 0;
        let mut last = ClaimError::from(Problem::new(Code::Internal, "the claim ended without a result"));
        while let Some(taken) = next.take() {
            tried += 1;
            let key = cache::key_of(taken.sandbox.as_ref());
            match self.prepare(&request, taken).await {
                Ok(prepared) => return Ok(prepared),
                Err(Failed { problem, retriable }) => {
                    last = ClaimError { problem, sandbox: Some(key) };
                    if !retriable || tried >= request.tries {
                        return Err(last);
                    }
                }
            }
            tracing::info!(error = %last, tried, "claim tries another sandbox");
            next = match &request.origin {
                None => self.take_pooled(&request).await?,
                Some(_) => None,
            };
        }
        Err(last)
    }

    /// Everything between the write and the acknowledgement.
    async fn prepare(&self, request: &ClaimRequest, taken: Taken) -> Result<Prepared, Failed> {
        let Taken { mut sandbox, token, mut guard, fresh, changed } = taken;
        // Policies select a pod by the label that says no; it has to be there before anything is mounted. So has the
        // container that is asked for: an update replaces the one that is there.
        if fresh || changed || request.pod_labels.contains_key(labels::ALLOW_INTERNET_ACCESS) {
            sandbox = ready::wait(self, &cache::key_of(sandbox.as_ref()), request.ready_limit).await?;
        }
        if let Some(token) = &token {
            self.prepare_runtime(request, &sandbox, token, &mut guard).await?;
        }
        Ok(Prepared { sandbox, guard })
    }

    async fn prepare_runtime(
        &self,
        request: &ClaimRequest,
        sandbox: &Sandbox,
        token: &str,
        guard: &mut Guard,
    ) -> Result<(), Failed> {
        let ClaimerOptions { runtime, clock, mount_deadline, .. } = &self.shared.options;
        let started = Instant::now();
        let endpoint = runtime.endpoint(sandbox)?;
        let initialised = runtime.initialise(&endpoint, &request.init(token), Handshake::First).await;
        initialised.map_err(|problem| Failed { problem, retriable: true })?;
        self.milestone("initialised", sandbox, json!({"milliseconds": milliseconds(started)}));
        if request.mounts.is_empty() {
            return Ok(());
        }
        guard.will_mount(endpoint.clone(), token, &request.mounts);
        let started = Instant::now();
        let expired = clock.sleep(*mount_deadline);
        if let Err(failures) = runtime.mount_all(&endpoint, Some(token), &request.mounts, expired).await {
            let client = &self.shared.options.client;
            return Err(runtime_client::explain(client, sandbox, &request.mounts, &failures).await.into());
        }
        let paths: Vec<_> = request.mounts.iter().map(|mount| &mount.mount_path).collect();
        self.milestone("mounted", sandbox, json!({"milliseconds": milliseconds(started), "paths": paths}));
        Ok(())
    }

    /// Collects sandboxes that were claimed and never handed out, for ever (`storage.md` §7.4).
    pub async fn collect_abandoned(self) {
        janitor::run(self).await;
    }

    fn now(&self) -> Timestamp {
        self.shared.options.clock.now()
    }

    fn api(&self, namespace: &str) -> Api<Sandbox> {
        Api::namespaced(self.shared.options.client.clone(), namespace)
    }

    fn sandboxes(&self) -> &Cache<Sandbox> {
        &self.shared.options.sandboxes
    }

    /// Marks the sandbox with that UID as being worked on; `None` when it is already.
    fn enter(&self, uid: &str) -> Option<Busy> {
        let busy = &self.shared.busy;
        lock(busy).insert(uid.to_owned()).then(|| Busy { busy: busy.clone(), uid: uid.to_owned() })
    }

    /// Whether this claimer is claiming, or cleaning up, the sandbox with that UID.
    fn is_busy(&self, uid: &str) -> bool {
        lock(&self.shared.busy).contains(uid)
    }

    /// Notes a step of a claim in the journal.
    fn milestone(&self, kind: &str, sandbox: &Sandbox, body: serde_json::Value) {
        let ClaimerOptions { journal, milestones, .. } = &self.shared.options;
        if let (Some(journal), Some(source)) = (journal, milestones) {
            journal.record(source, kind, &format!("Sandbox/{}", name_of(sandbox)), body);
        }
    }
}

/// Namespace and name of a sandbox, for logs.
fn name_of(sandbox: &Sandbox) -> String {
    format!("{}/{}", sandbox.namespace().unwrap_or_default(), sandbox.name_any())
}

fn annotation<'a>(sandbox: &'a Sandbox, key: &str) -> Option<&'a str> {
    sandbox.annotations().get(key).map(String::as_str)
}

fn label<'a>(sandbox: &'a Sandbox, key: &str) -> Option<&'a str> {
    sandbox.labels().get(key).map(String::as_str)
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 100_000.0).round() / 100.0
}
