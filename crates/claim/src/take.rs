//! The one write that makes a sandbox the caller's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::crd::Sandbox;
use contract::errors::{Code, Problem};
use contract::intents;
use contract::names::{annotations, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::PostParams;
use runtime_client::{is_conflict, is_not_found, kubernetes_problem};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cache::key_of;
use crate::guard::Guard;
use crate::pick::pick;
use crate::{Busy, ClaimRequest, Claimer, CloneName, EmptyPool, Origin, change, fresh, milliseconds};

/// Time for everything else of a claim, after which one that nobody acknowledged is nobody's.
const SLACK: Duration = Duration::from_secs(30);

/// A sandbox that was just taken.
pub(crate) struct Taken {
    pub(crate) sandbox: Arc<Sandbox>,
    /// The access token of its runtime; absent when the runtime is not to be initialised.
    pub(crate) token: Option<String>,
    pub(crate) guard: Guard,
    /// Whether it was made for this claim and has yet to become ready.
    pub(crate) fresh: bool,
    /// Whether its container is to be another one than the pool's.
    pub(crate) changed: bool,
}

/// What a claim writes into a sandbox and has to remember.
struct Marks {
    /// The access token of its runtime.
    token: Option<String>,
    /// Whether its container changes.
    changed: bool,
}

impl Claimer {
    /// Takes a sandbox from the pool, or makes one where the request allows it.
    pub(crate) async fn take(&self, request: &Arc<ClaimRequest>) -> Result<Taken, Problem> {
        if request.origin.is_some() {
            return self.take_fresh(request).await;
        }
        loop {
            if let Some(taken) = self.take_pooled(request).await? {
                return Ok(taken);
            }
            match request.empty_pool {
                EmptyPool::Create => return self.take_fresh(request).await,
                EmptyPool::Wait(limit) => self.await_stock(request, limit).await?,
                EmptyPool::Refuse => {
                    let pool = request.set.name_any();
                    let message = format!("no available sandboxes for template {pool:?}: the pool is empty");
                    return Err(Problem::new(Code::NoStock, message));
                }
            }
        }
    }

    /// Takes a sandbox from the pool; `None` when there is none.
    pub(crate) async fn take_pooled(&self, request: &Arc<ClaimRequest>) -> Result<Option<Taken>, Problem> {
        while let Some((candidate, busy)) = pick(self, &request.set) {
            if let Some(taken) = self.take_candidate(request, &candidate, busy).await? {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    /// `None` when somebody else was faster.
    async fn take_candidate(
        &self,
        request: &Arc<ClaimRequest>,
        candidate: &Sandbox,
        busy: Busy,
    ) -> Result<Option<Taken>, Problem> {
        let mut sandbox = candidate.clone();
        sandbox.metadata.managed_fields = None;
        sandbox.metadata.owner_references = None;
        let marks = self.mark(request, &mut sandbox);
        self.write(request, sandbox, Some(busy), marks).await
    }

    async fn take_fresh(&self, request: &Arc<ClaimRequest>) -> Result<Taken, Problem> {
        let mut sandbox = match &request.origin {
            None => fresh::sandbox(&request.set, request.template.as_ref()),
            Some(origin) => fresh::clone(&request.set, origin),
        };
        let name = sandbox.name_any();
        let marks = self.mark(request, &mut sandbox);
        let taken = self.write(request, sandbox, None, marks).await?;
        taken.ok_or_else(|| match &request.origin {
            Some(Origin { name: CloneName::Exactly(_), .. }) => {
                Problem::new(Code::NameTaken, format!("there is a sandbox called {name:?} already"))
            }
            _ => Problem::new(Code::Internal, "a sandbox of the same random name exists already, try again"),
        })
    }

    /// Waits until a sandbox of the pool can be picked.
    async fn await_stock(&self, request: &ClaimRequest, limit: Duration) -> Result<(), Problem> {
        // Picked only to see that there is one; the mark is taken off at once and the caller picks for itself.
        let available = self.sandboxes().until(|| pick(self, &request.set).map(drop));
        tokio::select! {
            biased;
            () = available => Ok(()),
            () = self.shared.options.clock.sleep(limit) => {
                let pool = request.set.name_any();
                Err(Problem::new(
                    Code::NoStock,
                    format!("no available sandboxes for template {pool:?}: the pool stayed empty for {limit:?} and create-on-no-stock is false"),
                ))
            }
        }
    }

    /// Writes the claim. It runs as a task of its own: a caller who goes away meanwhile must not leave a write behind
    /// that nobody knows the outcome of. Its result is then dropped, and the guard in it cleans up.
    async fn write(
        &self,
        request: &Arc<ClaimRequest>,
        sandbox: Sandbox,
        busy: Option<Busy>,
        Marks { token, changed }: Marks,
    ) -> Result<Option<Taken>, Problem> {
        let (claimer, request) = (self.clone(), request.clone());
        let write = tokio::spawn(async move {
            let started = Instant::now();
            let (namespace, name) = key_of(&sandbox);
            let api = claimer.api(&namespace);
            let fresh = busy.is_none();
            let written = if fresh {
                api.create(&PostParams::default(), &sandbox).await
            } else {
                api.replace(&name, &PostParams::default(), &sandbox).await
            };
            let sandbox = match written {
                Ok(sandbox) => claimer.sandboxes().observe(sandbox),
                Err(error) if is_conflict(&error) || is_not_found(&error) => {
                    refresh(&claimer, &sandbox).await?;
                    return Ok(None);
                }
                Err(error) => return Err(kubernetes_problem("claim a sandbox", &error)),
            };
            let uid = sandbox.uid().unwrap_or_default();
            let busy = busy.or_else(|| claimer.enter(&uid));
            let how = json!({"milliseconds": milliseconds(started), "fresh": fresh, "pool": request.set.name_any()});
            claimer.milestone("claimed", &sandbox, how);
            let guard = Guard::new(claimer, sandbox.clone(), busy, request.keep_failed);
            Ok(Some(Taken { sandbox, token, guard, fresh, changed }))
        });
        write.await.map_err(|_| Problem::new(Code::Internal, "the claim's write was interrupted"))?
    }

    /// Writes into `sandbox` whose it is and what it was claimed with.
    fn mark(&self, request: &ClaimRequest, sandbox: &mut Sandbox) -> Marks {
        let token = (!request.skip_init_runtime).then(|| uuid::Uuid::new_v4().to_string());
        if let (Some(journal), Some(token)) = (&self.shared.options.journal, &token) {
            journal.conceal(token);
        }
        let name = sandbox.name_any();
        let all = sandbox.labels_mut();
        all.extend(request.user_labels.clone());
        all.extend(request.labels.clone());
        all.insert(labels::SANDBOX_CLAIMED.to_owned(), "true".to_owned());
        all.insert(labels::SANDBOX_NAME.to_owned(), name.clone());
        let notes = self.annotations(request, token.as_deref());
        sandbox.annotations_mut().extend(notes);
        let mut changed = false;
        if let Some(template) = &mut sandbox.spec.template {
            changed = change::apply(template, &request.change);
            let mut pod_labels = request.user_labels.clone();
            pod_labels.extend(request.pod_labels.clone());
            pod_labels.insert(labels::OWNER.to_owned(), request.owner.clone());
            pod_labels.insert(labels::SANDBOX_NAME.to_owned(), name);
            add_to_pods(template, "labels", pod_labels);
            add_to_pods(template, "annotations", request.pod_annotations.clone());
        }
        sandbox.spec.pause_time = request.pause_time.map(Time);
        sandbox.spec.shutdown_time = request.shutdown_time.map(Time);
        Marks { token, changed }
    }

    fn annotations(&self, request: &ClaimRequest, token: Option<&str>) -> BTreeMap<String, String> {
        let now = self.now();
        let undo = json!({
            "labels": request.user_labels.keys().collect::<Vec<_>>(),
            "annotations": request.user_annotations.keys().collect::<Vec<_>>(),
        });
        let mut all = request.user_annotations.clone();
        all.extend(request.annotations.clone());
        let mut add = |key: &str, value: String| all.insert(key.to_owned(), value);
        add(annotations::LOCK, uuid::Uuid::new_v4().to_string());
        add(annotations::OWNER, request.owner.clone());
        add(annotations::CLAIM_TIMESTAMP, now.to_string());
        add(annotations::UPDATED_METADATA_IN_CLAIM, undo.to_string());
        let bound = request.ready_limit + self.shared.options.mount_deadline + SLACK;
        add(annotations::CLAIM_UNACKNOWLEDGED_UNTIL, clock::later(now, bound).to_string());
        if let Some(token) = token {
            add(annotations::INIT_RUNTIME_REQUEST, request.init(token).to_text());
            add(annotations::RUNTIME_ACCESS_TOKEN, token.to_owned());
        }
        if !request.intents.is_empty() {
            add(annotations::CSI_VOLUME_CONFIG, intents::encode_annotation(&request.intents));
        }
        all
    }
}

/// After a conflict the copy here is out of date, and picking it again would only conflict again: read it afresh.
async fn refresh(claimer: &Claimer, sandbox: &Sandbox) -> Result<(), Problem> {
    let (namespace, name) = key_of(sandbox);
    match claimer.api(&namespace).get_opt(&name).await {
        Ok(Some(newest)) => drop(claimer.sandboxes().observe(newest)),
        Ok(None) => claimer.sandboxes().bury(sandbox),
        Err(error) => return Err(kubernetes_problem("claim a sandbox", &error)),
    }
    Ok(())
}

/// Adds labels or annotations to the pod template; a template that isn't an object is left to the controller to
/// complain about.
fn add_to_pods(template: &mut Value, kind: &str, entries: BTreeMap<String, String>) {
    if entries.is_empty() {
        return;
    }
    let Some(template) = template.as_object_mut() else { return };
    let metadata = template.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else { return };
    let existing = metadata.entry(kind).or_insert_with(|| json!({}));
    if let Some(existing) = existing.as_object_mut() {
        existing.extend(entries.into_iter().map(|(key, value)| (key, Value::String(value))));
    }
}
