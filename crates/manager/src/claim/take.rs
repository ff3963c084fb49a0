//! The one write that makes a sandbox the caller's.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::crd::Sandbox;
use contract::errors::Code;
use contract::intents;
use contract::names::{annotations, labels};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::guard::Guard;
use super::pick::pick;
use super::{Busy, ClaimRequest, fresh, milliseconds};
use crate::error::{ApiError, is_conflict, is_not_found};
use crate::manager::Manager;
use crate::sandboxes::{self, UNACKNOWLEDGED};

/// A sandbox that was just taken.
pub(super) struct Taken {
    pub(super) sandbox: Arc<Sandbox>,
    /// The access token of its runtime; absent when the runtime is not to be initialised.
    pub(super) token: Option<String>,
    pub(super) guard: Guard,
    /// Whether it was made for this claim and has yet to become ready.
    pub(super) fresh: bool,
}

impl Manager {
    /// Takes a sandbox from the pool, or makes one where the request allows it.
    pub(super) async fn take(&self, request: &Arc<ClaimRequest>) -> Result<Taken, ApiError> {
        loop {
            if let Some(taken) = self.take_pooled(request).await? {
                return Ok(taken);
            }
            if request.extensions.create_on_no_stock() {
                return self.take_fresh(request).await;
            }
            self.await_stock(request).await?;
        }
    }

    /// Takes a sandbox from the pool; `None` when there is none.
    pub(super) async fn take_pooled(&self, request: &Arc<ClaimRequest>) -> Result<Option<Taken>, ApiError> {
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
    ) -> Result<Option<Taken>, ApiError> {
        let mut sandbox = candidate.clone();
        sandbox.metadata.managed_fields = None;
        sandbox.metadata.owner_references = None;
        let token = self.mark(request, &mut sandbox);
        self.write(request, sandbox, Some(busy), token).await
    }

    async fn take_fresh(&self, request: &Arc<ClaimRequest>) -> Result<Taken, ApiError> {
        let mut sandbox = fresh::sandbox(&request.set);
        let token = self.mark(request, &mut sandbox);
        let taken = self.write(request, sandbox, None, token).await?;
        taken.ok_or_else(|| ApiError::internal("a sandbox of the same random name exists already, try again"))
    }

    /// Waits until a sandbox of the pool can be picked.
    async fn await_stock(&self, request: &ClaimRequest) -> Result<(), ApiError> {
        let limit = request.limit().unwrap_or(self.shared.options.stock_limit);
        // Picked only to see that there is one; the mark is taken off at once and the caller picks for itself.
        let available = self.shared.sandboxes.until(|| pick(self, &request.set).map(drop));
        timeout(limit, available).await.map_err(|_| {
            let pool = request.set.name_any();
            ApiError::new(
                Code::NoStock,
                format!("no available sandboxes for template {pool:?}: the pool stayed empty for {limit:?} and create-on-no-stock is false"),
            )
        })
    }

    /// Writes the claim. It runs as a task of its own: a caller who goes away meanwhile must not leave a write behind
    /// that nobody knows the outcome of. Its result is then dropped, and the guard in it cleans up.
    async fn write(
        &self,
        request: &Arc<ClaimRequest>,
        sandbox: Sandbox,
        busy: Option<Busy>,
        token: Option<String>,
    ) -> Result<Option<Taken>, ApiError> {
        let (manager, request) = (self.clone(), request.clone());
        let write = tokio::spawn(async move {
            let started = Instant::now();
            let key = sandboxes::key(&sandbox);
            let api = manager.sandbox_api(&key.namespace);
            let fresh = busy.is_none();
            let written = if fresh {
                api.create(&PostParams::default(), &sandbox).await
            } else {
                api.replace(&key.name, &PostParams::default(), &sandbox).await
            };
            let sandbox = match written {
                Ok(sandbox) => manager.shared.sandboxes.observe(sandbox),
                Err(error) if is_conflict(&error) || is_not_found(&error) => {
                    refresh(&manager, &sandbox).await?;
                    return Ok(None);
                }
                Err(error) => return Err(ApiError::kubernetes("claim a sandbox", &error)),
            };
            let uid = sandbox.uid().unwrap_or_default();
            let busy = busy.or_else(|| manager.shared.claims.enter(&uid));
            let how = json!({"milliseconds": milliseconds(started), "fresh": fresh, "pool": request.set.name_any()});
            manager.milestone("claimed", &sandbox, how);
            let guard = Guard::new(manager, sandbox.clone(), busy, request.extensions.reserve_failed_sandbox);
            Ok(Some(Taken { sandbox, token, guard, fresh }))
        });
        write.await.map_err(|_| ApiError::internal("the claim's write was interrupted"))?
    }

    /// Writes into `sandbox` whose it is and what it was claimed with; gives back the access token.
    fn mark(&self, request: &ClaimRequest, sandbox: &mut Sandbox) -> Option<String> {
        let now = self.now();
        let token = (!request.extensions.skip_init_runtime).then(|| uuid::Uuid::new_v4().to_string());
        if let (Some(journal), Some(token)) = (&self.shared.options.journal, &token) {
            journal.conceal(token);
        }
        let name = sandbox.name_any();
        let user_labels = request.extensions.labels.clone();
        let mut pod_labels = user_labels.clone();
        pod_labels.insert(labels::OWNER.to_owned(), request.caller.id.clone());
        pod_labels.insert(labels::SANDBOX_NAME.to_owned(), name.clone());
        let all = sandbox.labels_mut();
        all.extend(user_labels);
        all.insert(labels::SANDBOX_CLAIMED.to_owned(), "true".to_owned());
        all.insert(labels::SANDBOX_NAME.to_owned(), name);
        if !request.allow_internet_access {
            all.insert(labels::ALLOW_INTERNET_ACCESS.to_owned(), "false".to_owned());
            pod_labels.insert(labels::ALLOW_INTERNET_ACCESS.to_owned(), "false".to_owned());
        }
        let notes = self.annotations(request, token.as_deref(), now);
        sandbox.annotations_mut().extend(notes);
        if let Some(template) = &mut sandbox.spec.template {
            label_pods(template, pod_labels);
        }
        request.deadlines.store(&mut sandbox.spec);
        token
    }

    fn annotations(
        &self,
        request: &ClaimRequest,
        token: Option<&str>,
        now: Timestamp,
    ) -> BTreeMap<String, String> {
        let undo = json!({
            "labels": request.extensions.labels.keys().collect::<Vec<_>>(),
            "annotations": request.metadata.keys().collect::<Vec<_>>(),
        });
        let mut all = request.metadata.clone();
        let mut add = |key: &str, value: String| all.insert(key.to_owned(), value);
        add(annotations::LOCK, uuid::Uuid::new_v4().to_string());
        add(annotations::OWNER, request.caller.id.clone());
        add(annotations::CLAIM_TIMESTAMP, now.to_string());
        add(annotations::UPDATED_METADATA_IN_CLAIM, undo.to_string());
        add(UNACKNOWLEDGED, clock::later(now, self.claim_bound(request)).to_string());
        if let Some(token) = token {
            add(annotations::INIT_RUNTIME_REQUEST, request.init(token).to_text());
            add(annotations::RUNTIME_ACCESS_TOKEN, token.to_owned());
        }
        if !request.intents.is_empty() {
            add(annotations::CSI_VOLUME_CONFIG, intents::encode_annotation(&request.intents));
        }
        if let Some(retention) = &request.extensions.reserve_paused_sandbox_duration {
            add(annotations::RESERVE_PAUSED_SANDBOX_DURATION, retention.clone());
        }
        if let Some(rules) = &request.network {
            add(crate::api::network::RULES, rules.stored());
        }
        if request.extensions.return_sandbox_ip {
            add(crate::api::view::RETURN_IP, "true".to_owned());
        }
        all
    }

    /// After this time a claim that nobody acknowledged is nobody's.
    fn claim_bound(&self, request: &ClaimRequest) -> std::time::Duration {
        let options = &self.shared.options;
        let slack = std::time::Duration::from_secs(30);
        request.ready_limit(options.ready_limit) + options.mount_deadline + slack
    }
}

/// After a conflict the copy here is out of date, and picking it again would only conflict again: read it afresh.
async fn refresh(manager: &Manager, sandbox: &Sandbox) -> Result<(), ApiError> {
    let key = sandboxes::key(sandbox);
    match manager.sandbox_api(&key.namespace).get_opt(&key.name).await {
        Ok(Some(newest)) => drop(manager.shared.sandboxes.observe(newest)),
        Ok(None) => manager.shared.sandboxes.bury(sandbox),
        Err(error) => return Err(ApiError::kubernetes("claim a sandbox", &error)),
    }
    Ok(())
}

/// Adds labels to the pod template; a template that isn't an object is left to the controller to complain about.
fn label_pods(template: &mut Value, labels: BTreeMap<String, String>) {
    let Some(template) = template.as_object_mut() else { return };
    let metadata = template.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else { return };
    let existing = metadata.entry("labels").or_insert_with(|| json!({}));
    if let Some(existing) = existing.as_object_mut() {
        existing.extend(labels.into_iter().map(|(key, value)| (key, Value::String(value))));
    }
}
