//! What is claimed, whose it becomes and with what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::crd::{CsiMountConfig, InplaceUpdate, SandboxSet};
use contract::errors::{Code, Problem};
use contract::extensions::Retention;
use contract::names::{RUNTIME_AGENT, RUNTIME_CSI};
use contract::resolve::ResolvedMount;
use jiff::Timestamp;
use kube::ResourceExt as _;
use runtime_client::InitRequest;
use serde_json::Value;

/// What to do about a pool that has nothing to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyPool {
    /// Make a sandbox for this claim.
    Create,
    /// Wait that long for one.
    Wait(Duration),
    /// Give up at once.
    Refuse,
}

/// How a clone is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CloneName {
    /// After its checkpoint's id, with letters drawn by chance.
    #[default]
    OfCheckpoint,
    /// With this prefix in the id's place.
    Prefixed(String),
    /// Exactly so.
    Exactly(String),
}

/// What a clone is made from (`kubernetes.md` §6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The checkpoint's id.
    pub checkpoint: String,
    /// How the clone is called.
    pub name: CloneName,
}

/// A claim, checked and resolved.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// The pool; for a clone, a set that says what the checkpoint's template says and has no members.
    pub set: Arc<SandboxSet>,
    /// The checkpoint that a new sandbox is made from; absent means a sandbox of the pool.
    pub origin: Option<Origin>,
    /// The pod template in use, where the set refers to one instead of having it.
    pub template: Option<Value>,
    /// Whose the sandbox becomes: a user's id or a claim's UID.
    pub owner: String,
    /// The mounts as asked for; they are kept on the Sandbox.
    pub intents: Vec<CsiMountConfig>,
    /// The same mounts, ready for the driver.
    pub mounts: Vec<ResolvedMount>,
    /// What to change of the first container; see [`crate::check_change`].
    pub change: InplaceUpdate,
    /// Environment of the runtime.
    pub environment: BTreeMap<String, String>,
    /// Labels of the user's for the Sandbox and its pod; undone when the sandbox is recycled.
    pub user_labels: BTreeMap<String, String>,
    /// Annotations of the user's for the Sandbox; undone when the sandbox is recycled.
    pub user_annotations: BTreeMap<String, String>,
    /// Labels of the claimer's for the Sandbox.
    pub labels: BTreeMap<String, String>,
    /// Labels of the claimer's for the pod.
    pub pod_labels: BTreeMap<String, String>,
    /// Annotations of the claimer's for the Sandbox.
    pub annotations: BTreeMap<String, String>,
    /// Annotations for the pod.
    pub pod_annotations: BTreeMap<String, String>,
    /// When the sandbox is paused.
    pub pause_time: Option<Timestamp>,
    /// When the sandbox is deleted.
    pub shutdown_time: Option<Timestamp>,
    /// Leave the runtime as it is; nothing can be mounted then.
    pub skip_init_runtime: bool,
    /// How long a sandbox whose claim failed is kept.
    pub keep_failed: Retention,
    /// What to do when the pool is empty.
    pub empty_pool: EmptyPool,
    /// How long a fresh sandbox may take to become ready.
    pub ready_limit: Duration,
    /// How many sandboxes the claim may use up when their runtimes can't be initialised.
    pub tries: u32,
}

impl ClaimRequest {
    /// A claim of one sandbox of `set` for `owner`, without anything else.
    pub fn new(set: Arc<SandboxSet>, owner: impl Into<String>) -> Self {
        Self {
            set,
            origin: None,
            template: None,
            owner: owner.into(),
            intents: Vec::new(),
            mounts: Vec::new(),
            change: InplaceUpdate::default(),
            environment: BTreeMap::new(),
            user_labels: BTreeMap::new(),
            user_annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            pod_labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            pod_annotations: BTreeMap::new(),
            pause_time: None,
            shutdown_time: None,
            skip_init_runtime: false,
            keep_failed: Retention::Never,
            empty_pool: EmptyPool::Create,
            ready_limit: Duration::from_mins(1),
            tries: 3,
        }
    }

    /// What the runtime is initialised with.
    pub(crate) fn init(&self, token: &str) -> InitRequest {
        InitRequest {
            env_vars: self.environment.clone(),
            access_token: token.to_owned(),
            ..InitRequest::default()
        }
    }
}

/// A pool without the runtimes that mounting needs is refused before it costs a sandbox (DECISIONS 10).
///
/// # Errors
/// [`Code::RuntimeNotInjected`] naming what is missing.
pub fn check_runtimes(set: &SandboxSet, intents: &[CsiMountConfig]) -> Result<(), Problem> {
    if intents.is_empty() {
        return Ok(());
    }
    let listed = set.spec.runtimes.as_deref().unwrap_or_default();
    let missing: Vec<_> = [RUNTIME_CSI, RUNTIME_AGENT]
        .into_iter()
        .filter(|name| listed.iter().all(|it| it.name != *name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "template {:?} cannot mount storage: list {} under spec.runtimes of the SandboxSet",
        set.name_any(),
        missing.join(" and ")
    );
    Err(Problem::new(Code::RuntimeNotInjected, message))
}
