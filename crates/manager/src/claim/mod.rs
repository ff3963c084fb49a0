//! Taking a sandbox from the warm pool and making it the caller's (`kubernetes.md` §3.7, `storage.md` §3.1).
//!
//! ```text
//! pick ──► take (one write) ──► ready? ──► POST /init ──► mounts ──► acknowledge ──► 201
//!  ▲         │ 409: somebody else was faster        │ any failure, or the caller is gone
//!  └─────────┘                                      └──► Guard dropped: undo mounts, delete or keep
//! ```
//!
//! From the write on, a [`guard::Guard`] owns the half-claimed sandbox: whatever ends the claim early, an error, a
//! deadline or a caller who hangs up, drops the guard, and that starts the cleanup. If the manager itself dies,
//! the annotation [`UNACKNOWLEDGED`](crate::sandboxes::UNACKNOWLEDGED) is still there and the janitor of the next one
//! collects the sandbox.

mod fresh;
pub(crate) mod guard;
pub(crate) mod janitor;
mod pick;
mod ready;
mod take;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::crd::{CsiMountConfig, Sandbox, SandboxSet};
use contract::errors::Code;
use contract::extensions::Extensions;
use contract::resolve::ResolvedMount;
use kube::ResourceExt as _;
use runtime_client::{Handshake, InitRequest};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::api::network::{self, NetworkRules};
use crate::deadlines::Deadlines;
use crate::error::ApiError;
use crate::keys::Caller;
use crate::manager::Manager;
use crate::sandboxes;
use guard::Guard;
use take::Taken;

/// How many sandboxes one claim may use up when their runtimes can't be initialised.
const ATTEMPTS: u32 = 3;

/// What a caller asked for, checked and resolved.
#[derive(Clone, Debug)]
pub(crate) struct ClaimRequest {
    pub(crate) caller: Caller,
    pub(crate) set: Arc<SandboxSet>,
    /// The mounts as asked for; they are kept on the Sandbox.
    pub(crate) intents: Vec<CsiMountConfig>,
    /// The same mounts, ready for the driver.
    pub(crate) mounts: Vec<ResolvedMount>,
    /// The user's own metadata.
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) extensions: Extensions,
    pub(crate) deadlines: Deadlines,
    pub(crate) allow_internet_access: bool,
    /// Network rules, if there are any.
    pub(crate) network: Option<NetworkRules>,
}

impl ClaimRequest {
    /// What the runtime is initialised with.
    fn init(&self, token: &str) -> InitRequest {
        InitRequest {
            env_vars: self.environment.clone(),
            access_token: token.to_owned(),
            ..InitRequest::default()
        }
    }

    /// The limit that the caller set for the whole claim.
    fn limit(&self) -> Option<Duration> {
        seconds(self.extensions.claim_timeout_seconds)
    }

    /// The limit for a fresh sandbox to become ready.
    fn ready_limit(&self, default: Duration) -> Duration {
        seconds(self.extensions.wait_ready_timeout_seconds).unwrap_or(default)
    }
}

fn seconds(value: Option<i64>) -> Option<Duration> {
    value
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
}

/// The claims that this manager has under way.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    busy: Arc<Mutex<HashSet<String>>>,
}

impl Claims {
    /// Marks the sandbox with that UID as being worked on; `None` when it is already.
    fn enter(&self, uid: &str) -> Option<Busy> {
        lock(&self.busy).insert(uid.to_owned()).then(|| Busy { busy: self.busy.clone(), uid: uid.to_owned() })
    }

    /// Whether this manager is claiming, or cleaning up, the sandbox with that UID.
    fn is_busy(&self, uid: &str) -> bool {
        lock(&self.busy).contains(uid)
    }
}

/// A mark of [`Claims`], taken off when dropped.
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
    error: ApiError,
    /// Whether another sandbox may do better.
    retriable: bool,
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self { error, retriable: false }
    }
}

impl Manager {
    /// Claims a sandbox. Dropping the future gives it back.
    pub(crate) async fn claim(&self, request: ClaimRequest) -> Result<Arc<Sandbox>, ApiError> {
        let request = Arc::new(request);
        match request.limit() {
            None => self.claim_unlimited(&request).await,
            Some(limit) => timeout(limit, self.claim_unlimited(&request)).await.unwrap_or_else(|_| {
                let pool = request.set.name_any();
                Err(ApiError::new(
                    Code::NoStock,
                    format!("no sandbox of template {pool:?} could be claimed within claim-timeout-seconds ({limit:?})"),
                ))
            }),
        }
    }

    /// Tries one sandbox and, when its runtime can't be initialised, other members of the pool; none is made for a
    /// second try, it would fail the same way and cost the caller a minute.
    async fn claim_unlimited(&self, request: &Arc<ClaimRequest>) -> Result<Arc<Sandbox>, ApiError> {
        let mut next = Some(self.take(request).await?);
        let mut tried = 0;
        let mut last = ApiError::internal("the claim ended without a result");
        while let Some(taken) = next.take() {
            tried += 1;
            match self.prepare(request, taken).await {
                Ok(sandbox) => return Ok(sandbox),
                Err(failed) if failed.retriable && tried < ATTEMPTS => {
                    tracing::info!(error = %failed.error, tried, "claim tries another sandbox");
                    last = failed.error;
                    next = self.take_pooled(request).await?;
                }
                Err(failed) => return Err(failed.error),
            }
        }
        Err(last)
    }

    /// Everything between the write and the answer.
    async fn prepare(&self, request: &ClaimRequest, taken: Taken) -> Result<Arc<Sandbox>, Failed> {
        let Taken { mut sandbox, token, mut guard, fresh } = taken;
        let key = sandboxes::key(&sandbox);
        let about = |error: ApiError| error.about(&key.namespace, &key.name);
        if fresh {
            let limit = request.ready_limit(self.shared.options.ready_limit);
            sandbox = ready::wait(self, &key, limit).await.map_err(about)?;
        }
        if let Some(token) = &token {
            self.prepare_runtime(request, &sandbox, token, &mut guard)
                .await
                .map_err(|failed| Failed { error: about(failed.error), ..failed })?;
        }
        if let Some(rules) = &request.network {
            network::install(self, &sandbox, rules).await.map_err(about)?;
        }
        let acknowledged = guard.acknowledge().await.map_err(about)?;
        Ok(acknowledged)
    }

    async fn prepare_runtime(
        &self,
        request: &ClaimRequest,
        sandbox: &Sandbox,
        token: &str,
        guard: &mut Guard,
    ) -> Result<(), Failed> {
        let runtime = &self.shared.runtime;
        let started = Instant::now();
        let endpoint = runtime.endpoint(sandbox).map_err(ApiError::from)?;
        let init = request.init(token);
        runtime
            .initialise(&endpoint, &init, Handshake::First)
            .await
            .map_err(|problem| Failed { error: problem.into(), retriable: true })?;
        self.milestone("initialised", sandbox, json!({"milliseconds": milliseconds(started)}));
        if request.mounts.is_empty() {
            return Ok(());
        }
        guard.will_mount(endpoint.clone(), token, &request.mounts);
        let started = Instant::now();
        let within = self.shared.options.mount_deadline;
        let mounted = runtime.mount_all(&endpoint, Some(token), &request.mounts, within).await;
        mounted.map_err(ApiError::from)?;
        let paths: Vec<_> = request.mounts.iter().map(|mount| &mount.mount_path).collect();
        self.milestone("mounted", sandbox, json!({"milliseconds": milliseconds(started), "paths": paths}));
        Ok(())
    }

    /// Notes a step of a claim in the journal.
    fn milestone(&self, kind: &str, sandbox: &Sandbox, body: serde_json::Value) {
        self.record(kind, &format!("Sandbox/{}", sandboxes::key(sandbox)), body);
    }
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 100_000.0).round() / 100.0
}
