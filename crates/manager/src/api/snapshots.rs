//! Snapshots (`e2b-api.md` §4.10): Checkpoints of the caller's sandboxes. The controller and a node take them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use contract::checkpoint::{self, contents, phases};
use contract::conditions::{self, reasons, types};
use contract::crd::{Checkpoint, CheckpointSpec, Sandbox};
use contract::errors::Code;
use contract::extensions::is_dns_label;
use contract::names::{annotations, labels};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::RawBody;
use super::context::Context;
use super::list::NEXT;
use super::list_query::{Cursor, ListQuery};
use super::percent::query_pairs;
use crate::error::{ApiError, is_conflict, is_not_found};
use crate::keys::Caller;
use crate::manager::Manager;
use crate::sandboxes::{self, Situation};

const KEEP_RUNNING: &str = "x-e2b-kruise-snapshot-keep-running";
const TTL: &str = "x-e2b-kruise-snapshot-ttl";
const CONTENTS: &str = "x-e2b-kruise-snapshot-persistent-contents";
const WAIT: &str = "x-e2b-kruise-snapshot-wait-success-seconds";

/// The body; `memory` is accepted and makes no difference, as with a pause.
#[derive(Debug, Deserialize)]
struct Body {
    name: Option<String>,
}

/// `POST /sandboxes/{id}/snapshots`: 201 once the snapshot can be used.
pub(crate) async fn create(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    context.concerns(&id);
    let (sandbox, situation) = manager.owned(&caller, &id)?;
    let Body { name } = body.read_or_empty()?;
    let name = name.filter(|name| !name.is_empty());
    let wish = Wish::read(&headers)?;
    if situation != Situation::Running {
        let message =
            "only a sandbox that runs and is ready can be snapshotted: wake it up, or wait until it is ready";
        // not the code's own 409: §4.10 says 400
        let error = ApiError::new(Code::SandboxStateConflict, message).with_status(StatusCode::BAD_REQUEST);
        let key = sandboxes::key(&sandbox);
        return Err(error.about(&key.namespace, &key.name));
    }
    if let Some(name) = &name {
        manager.check_snapshot_name(&caller, name)?;
    }
    let taken = manager.take_snapshot(&caller, &sandbox, wish, name).await?;
    Ok((StatusCode::CREATED, Json(view(&taken))))
}

/// What the headers ask for.
#[derive(Debug, Default, PartialEq)]
struct Wish {
    keep_running: Option<bool>,
    ttl: Option<String>,
    contents: Option<Vec<String>>,
    limit: Option<Duration>,
}

impl Wish {
    fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let text = |name: &str| {
            headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        };
        let keep_running = match text(KEEP_RUNNING).as_deref() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        };
        let mut wish = Self { keep_running, ..Self::default() };
        if let Some(ttl) = text(TTL) {
            if checkpoint::ttl(&ttl).is_none() {
                let message = format!("header {TTL}: {ttl:?} is no duration above zero, write 30s or 1h30m");
                return Err(ApiError::bad_request(message));
            }
            wish.ttl = Some(ttl);
        }
        if let Some(words) = text(CONTENTS) {
            let words = words.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned);
            wish.contents = Some(words.collect());
        }
        if let Some(seconds) = text(WAIT) {
            let seconds: u64 = seconds.parse().map_err(|_| {
                ApiError::bad_request(format!("header {WAIT}: {seconds:?} is no whole number of seconds"))
            })?;
            wish.limit = (seconds > 0).then(|| Duration::from_secs(seconds));
        }
        Ok(wish)
    }
}

/// `GET /snapshots`
pub(crate) async fn list(
    State(manager): State<Manager>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = query.as_deref().unwrap_or_default();
    let ListQuery { limit, after, .. } = ListQuery::parse_page(query)?;
    let asked = |wanted: &str| {
        let found = query_pairs(query).filter(|(key, _)| key == wanted).last();
        found.map(|(_, value)| value).filter(|value| !value.is_empty())
    };
    let (sandbox, name) = (asked("sandboxID"), asked("name"));
    let mut found: Vec<_> = manager
        .snapshots(&caller)
        .into_iter()
        .filter(|found| {
            let of_sandbox =
                sandbox.as_ref().is_none_or(|id| note(found, annotations::SANDBOX_ID) == Some(id));
            of_sandbox && name.as_ref().is_none_or(|name| is_called(found, name))
        })
        .map(|found| (place(&found), found))
        .collect();
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    if let Some(after) = &after {
        found.retain(|(place, _)| place > after);
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next =
        found.last().filter(|_| more).and_then(|(place, _)| HeaderValue::from_str(&place.encode()).ok());
    let mut response = Json(found.iter().map(|(_, found)| view(found)).collect::<Vec<_>>()).into_response();
    if let Some(next) = next {
        response.headers_mut().insert(NEXT, next);
    }
    Ok(response)
}

fn place(checkpoint: &Checkpoint) -> Cursor {
    let asked = note(checkpoint, annotations::SNAPSHOT_TIME).and_then(|text| text.parse().ok());
    let started = asked.or_else(|| checkpoint.creation_timestamp().map(|time| time.0)).unwrap_or_default();
    Cursor { started, id: checkpoint::id(checkpoint) }
}

fn note<'a>(checkpoint: &'a Checkpoint, key: &str) -> Option<&'a String> {
    checkpoint.annotations().get(key)
}

/// Whether `text` is its id or the name that its user gave it.
fn is_called(checkpoint: &Checkpoint, text: &str) -> bool {
    checkpoint::id(checkpoint) == text
        || note(checkpoint, annotations::SNAPSHOT_NAME).is_some_and(|name| name == text)
}

fn view(checkpoint: &Checkpoint) -> Value {
    let names: Vec<_> = note(checkpoint, annotations::SNAPSHOT_NAME).into_iter().collect();
    json!({"snapshotID": checkpoint::id(checkpoint), "names": names})
}

impl Manager {
    /// The caller's snapshots that can be used.
    fn snapshots(&self, caller: &Caller) -> Vec<Arc<Checkpoint>> {
        self.shared
            .checkpoints
            .select(|found| checkpoint::is_usable(found) && Self::owns_snapshot(caller, found))
    }

    /// The caller's snapshot with that id or name.
    pub(crate) fn snapshot(&self, caller: &Caller, text: &str) -> Option<Arc<Checkpoint>> {
        let mut found = self.snapshots(caller);
        found.retain(|found| is_called(found, text));
        // an id wins over a name that looks like it
        found.sort_by_key(|found| checkpoint::id(found) == text);
        found.pop()
    }

    fn owns_snapshot(caller: &Caller, checkpoint: &Checkpoint) -> bool {
        note(checkpoint, annotations::OWNER) == Some(&caller.id)
            && caller.sees(&checkpoint.namespace().unwrap_or_default())
    }

    /// A name that a create could take for something else, or that is taken, is refused.
    fn check_snapshot_name(&self, caller: &Caller, name: &str) -> Result<(), ApiError> {
        if !is_dns_label(name) {
            let message = format!(
                "snapshot name {name:?} is not usable: at most 63 lower-case letters, digits and dashes"
            );
            return Err(ApiError::bad_request(message));
        }
        let is_template = !self
            .shared
            .sets
            .select(|set| set.name_any() == name && caller.sees(&set.namespace().unwrap_or_default()))
            .is_empty();
        // one that is being taken has its name too
        let mut taken = self.shared.checkpoints.select(|found| {
            Self::owns_snapshot(caller, found)
                && found.metadata.deletion_timestamp.is_none()
                && checkpoint::phase(found) != phases::FAILED
        });
        taken.retain(|found| is_called(found, name));
        if is_template || !taken.is_empty() {
            let other = if is_template { "a template" } else { "another snapshot" };
            let message =
                format!("{other} is called {name:?} already: choose another name, or delete that one");
            return Err(ApiError::new(Code::NameTaken, message));
        }
        Ok(())
    }

    /// Makes the Checkpoint and waits for it. One that fails, comes too late or isn't waited for any more is deleted.
    async fn take_snapshot(
        &self,
        caller: &Caller,
        sandbox: &Sandbox,
        wish: Wish,
        name: Option<String>,
    ) -> Result<Arc<Checkpoint>, ApiError> {
        let key = sandboxes::key(sandbox);
        let limit = wish.limit.unwrap_or(self.shared.options.snapshot_limit);
        let wanted = checkpoint_of(caller, sandbox, wish, name, self.now());
        // what nobody here can do is told before anything is made
        checkpoint::source(&wanted.spec).map_err(|problem| {
            ApiError::new(problem.code(), problem.message()).with_status(StatusCode::BAD_REQUEST)
        })?;
        let (manager, namespace) = (self.clone(), key.namespace.clone());
        // A task of its own: a caller who goes away meanwhile must not leave a write behind that nobody knows of.
        let written = tokio::spawn(async move {
            let api: Api<Checkpoint> = Api::namespaced(manager.shared.options.client.clone(), &namespace);
            let written = api.create(&PostParams::default(), &wanted).await;
            let written = written.map_err(|error| ApiError::kubernetes("take a snapshot", &error))?;
            let written = manager.shared.checkpoints.observe(written);
            Ok::<_, ApiError>(Pending { manager, checkpoint: written, is_done: false })
        });
        let interrupted = |_| ApiError::internal("the snapshot's write was interrupted");
        let mut pending = written.await.map_err(interrupted)??;
        let taken = self.await_snapshot(&pending.checkpoint, limit).await;
        let taken = taken.map_err(|error| error.about(&key.namespace, &key.name))?;
        pending.is_done = true;
        Ok(taken)
    }

    async fn await_snapshot(
        &self,
        written: &Checkpoint,
        limit: Duration,
    ) -> Result<Arc<Checkpoint>, ApiError> {
        let (namespace, name) = (written.namespace().unwrap_or_default(), written.name_any());
        let failed = |code: Code, why: &str| ApiError::new(code, format!("failed to take a snapshot: {why}"));
        let newest =
            || self.shared.checkpoints.get(&namespace, &name).filter(|found| found.uid() == written.uid());
        let ended = self.shared.checkpoints.until(|| {
            let Some(newest) = newest().filter(|found| found.metadata.deletion_timestamp.is_none()) else {
                return Some(Err(failed(Code::CheckpointFailed, "it was deleted meanwhile")));
            };
            match checkpoint::phase(&newest) {
                phases::SUCCEEDED => Some(Ok(newest)),
                phases::FAILED => {
                    let code = match reason(&newest) {
                        Some(reasons::NOT_SUPPORTED) => Code::NotSupported,
                        _ => Code::CheckpointFailed,
                    };
                    Some(Err(failed(code, message(&newest))))
                }
                _ => None,
            }
        });
        tokio::select! {
            biased;
            ended = ended => ended,
            () = self.shared.options.clock.sleep(limit) => {
                let last = newest().map(|last| format!("{:?} {}", checkpoint::phase(&last), message(&last)));
                let why = format!("not done within {limit:?}, last: {}", last.unwrap_or_default());
                Err(failed(Code::CheckpointFailed, &why))
            }
        }
    }

    /// Deletes a snapshot of the caller's; sandboxes that were made from it go on.
    pub(crate) async fn delete_snapshot(&self, checkpoint: &Checkpoint) -> Result<(), ApiError> {
        let namespace = checkpoint.namespace().unwrap_or_default();
        let api: Api<Checkpoint> = Api::namespaced(self.shared.options.client.clone(), &namespace);
        let exactly = Preconditions { uid: checkpoint.uid(), resource_version: None };
        let how = DeleteParams { preconditions: Some(exactly), ..DeleteParams::background() };
        self.shared.checkpoints.bury(checkpoint);
        match api.delete(&checkpoint.name_any(), &how).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(()),
            Err(error) => {
                self.shared.checkpoints.unbury(checkpoint);
                Err(ApiError::kubernetes("delete a snapshot", &error))
            }
        }
    }
}

/// A Checkpoint that its caller waits for. Dropped before it is done, it is deleted.
struct Pending {
    manager: Manager,
    checkpoint: Arc<Checkpoint>,
    is_done: bool,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let (manager, checkpoint) = (self.manager.clone(), self.checkpoint.clone());
        // without a runtime the whole manager ends, and the Checkpoint is there to be listed and deleted
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = manager.delete_snapshot(&checkpoint).await {
                    tracing::warn!(%error, checkpoint = checkpoint.name_any(), "a failed snapshot is left");
                }
            });
        }
    }
}

fn checkpoint_of(
    caller: &Caller,
    sandbox: &Sandbox,
    wish: Wish,
    name: Option<String>,
    now: Timestamp,
) -> Checkpoint {
    let own = sandbox.name_any();
    let spec = CheckpointSpec {
        sandbox_name: Some(own.clone()),
        pod_name: Some(own.clone()),
        keep_running: Some(wish.keep_running.unwrap_or(true)),
        persistent_contents: Some(wish.contents.unwrap_or_else(|| vec![contents::FILESYSTEM.to_owned()])),
        ttl_after_finished: wish.ttl,
    };
    let mut checkpoint = Checkpoint::new(&claim::generated_name(&own), spec);
    checkpoint.metadata.namespace = sandbox.namespace();
    let all = checkpoint.labels_mut();
    all.insert(labels::SANDBOX_NAME.to_owned(), own);
    let notes = checkpoint.annotations_mut();
    notes.insert(annotations::OWNER.to_owned(), caller.id.clone());
    notes.insert(annotations::SANDBOX_ID.to_owned(), sandboxes::id(sandbox));
    notes.insert(annotations::SNAPSHOT_TIME.to_owned(), now.to_string());
    if let Some(name) = name {
        notes.insert(annotations::SNAPSHOT_NAME.to_owned(), name);
    }
    checkpoint
}

fn reason(checkpoint: &Checkpoint) -> Option<&str> {
    let conditions = &checkpoint.status.as_ref()?.conditions;
    conditions::find(conditions, types::READY).map(|condition| condition.reason.as_str())
}

fn message(checkpoint: &Checkpoint) -> &str {
    checkpoint
        .status
        .as_ref()
        .and_then(|status| status.message.as_deref())
        .unwrap_or("not seen by the controller")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)))
            .collect()
    }

    #[rstest]
    #[case::nothing(&[], Wish::default())]
    #[case::other_words_are_ignored(&[(KEEP_RUNNING, "perhaps"), (WAIT, "0")], Wish::default())]
    #[case::everything(
        &[(KEEP_RUNNING, "true"), (TTL, "1h30m"), (CONTENTS, "filesystem, memory"), (WAIT, "5")],
        Wish {
            keep_running: Some(true),
            ttl: Some("1h30m".into()),
            contents: Some(vec!["filesystem".into(), "memory".into()]),
            limit: Some(Duration::from_secs(5)),
        }
    )]
    fn headers_are_read(#[case] pairs: &[(&'static str, &'static str)], #[case] expected: Wish) {
        assert_eq!(Wish::read(&headers(pairs)).expect("usable"), expected);
    }

    #[rstest]
    #[case(TTL, "soon")]
    #[case(TTL, "-5s")]
    #[case(WAIT, "-1")]
    #[case(WAIT, "long")]
    fn bad_headers_are_named(#[case] name: &'static str, #[case] value: &'static str) {
        let error = Wish::read(&headers(&[(name, value)])).expect_err("refused");
        assert!(error.status == StatusCode::BAD_REQUEST && error.message.contains(name), "{error}");
    }
}
