//! Watches: a stream of changes, one JSON object a line.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream::unfold;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::show::Presenter;
use crate::api::Call;
use crate::api::read::{Selection, namespace_of};
use crate::error::{ApiError, ApiResult};
use crate::state::State;
use crate::store::{Change, ChangeKind};

/// How often an idle watch is told the current version, if it asked for bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(30);
/// A watch that names no timeout ends after this long, as the API server ends it after 30 to 60 minutes.
const LONGEST: Duration = Duration::from_secs(45 * 60);
/// Says that the objects that existed when the watch began have all been sent.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

struct Watch {
    selection: Selection,
    presenter: Presenter,
    /// Lines to be sent before anything new.
    ready: VecDeque<Bytes>,
    changes: mpsc::Receiver<Arc<Change>>,
    bookmarks: bool,
    ticks: Interval,
    deadline: Instant,
    revision: u64,
    columns_sent: bool,
    ended: bool,
}

/// Starts the watch that a call asks for.
pub(crate) fn start(
    state: &mut State,
    call: &Call,
    presenter: Presenter,
) -> ApiResult<impl Stream<Item = Bytes> + Send + use<>> {
    let selection = Selection::of(call)?;
    let bookmarks = call.query.flag("allowWatchBookmarks");
    let initial = call.query.flag("sendInitialEvents");
    if initial && (!bookmarks || call.query.get("resourceVersionMatch") != Some("NotOlderThan")) {
        return Err(ApiError::bad_request(
            "sendInitialEvents requires allowWatchBookmarks and resourceVersionMatch=NotOlderThan",
        ));
    }
    let asked = call.query.number("resourceVersion")?.unwrap_or(0);
    let from_now = asked == 0 || initial;
    let after = if from_now { state.store.revision() } else { asked };
    let mut watch = subscribe(state, call, presenter, selection, after)?;
    let existing = initial || (asked == 0 && call.query.get("sendInitialEvents") != Some("false"));
    if existing {
        for object in state.store.list(&call.resource.collection, namespace_of(call)) {
            if watch.selection.matches(&object) {
                watch.push("ADDED", &object);
            }
        }
    }
    if initial {
        watch.push_bookmark(Some(INITIAL_EVENTS_END));
    }
    Ok(unfold(watch, |mut watch| async move { watch.next().await.map(|line| (line, watch)) }))
}

#[derive(Serialize)]
struct Event<'e> {
    #[serde(rename = "type")]
    kind: &'e str,
    object: &'e Value,
}

/// A watch on everything after a revision.
fn subscribe(
    state: &mut State,
    call: &Call,
    presenter: Presenter,
    selection: Selection,
    after: u64,
) -> ApiResult<Watch> {
    let timeout = call.query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0);
    let subscribed = state.store.subscribe(&call.resource.collection, namespace_of(call), after);
    let (backlog, changes, refusal) = match subscribed {
        Ok(subscription) => (subscription.backlog, subscription.changes, None),
        // A watch has already answered 200 when it learns this, so it is told in the stream.
        Err(forgotten) => (Vec::new(), mpsc::channel(1).1, Some(ApiError::expired(after, forgotten.oldest))),
    };
    let mut ticks = interval_at(Instant::now() + BOOKMARK_EVERY, BOOKMARK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch {
        selection,
        presenter,
        ready: VecDeque::new(),
        changes,
        bookmarks: call.query.flag("allowWatchBookmarks"),
        ticks,
        deadline: Instant::now() + timeout.map_or(LONGEST, Duration::from_secs),
        revision: state.store.revision(),
        columns_sent: false,
        ended: refusal.is_some(),
    };
    if let Some(refusal) = refusal {
        watch.ready.push_back(line("ERROR", &refusal.to_status()));
    }
    for change in backlog {
        watch.push_change(&change);
    }
    Ok(watch)
}

fn line(kind: &str, object: &Value) -> Bytes {
    // A JSON value with text keys can always be written.
    let mut line = serde_json::to_vec(&Event { kind, object }).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if self.ended {
                return None;
            }
            tokio::select! {
                biased;
                change = self.changes.recv() => match change {
                    Some(change) => self.push_change(&change),
                    None => self.ended = true,
                },
                () = tokio::time::sleep_until(self.deadline) => {
                    self.ended = true;
                    if self.bookmarks {
                        self.push_bookmark(None);
                    }
                }
                _ = self.ticks.tick(), if self.bookmarks => self.push_bookmark(None),
            }
        }
    }

    /// A change as this watch sees it: an object that begins or ceases to be selected is added or deleted.
    fn push_change(&mut self, change: &Change) {
        self.revision = change.revision;
        let is = change.kind != ChangeKind::Deleted && self.selection.matches(&change.object);
        let was = change.previous.as_ref().is_some_and(|previous| self.selection.matches(previous));
        let kind = match (was, is) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return,
        };
        self.push(kind, &change.object);
    }

    fn push(&mut self, kind: &str, object: &Value) {
        let shown = self.presenter.object(object, !self.columns_sent);
        self.columns_sent = true;
        self.ready.push_back(line(kind, &shown));
    }

    fn push_bookmark(&mut self, annotation: Option<&str>) {
        let resource = &self.presenter.resource;
        let mut metadata = json!({"resourceVersion": self.revision.to_string(), "creationTimestamp": null});
        if let Some(annotation) = annotation {
            metadata["annotations"] = json!({annotation: "true"});
        }
        let bookmark =
            json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
        let shown = match self.presenter.form {
            super::negotiate::Form::Object => bookmark,
            _ => self.presenter.object(&bookmark, false).into_owned(),
        };
        self.ready.push_back(line("BOOKMARK", &shown));
    }
}
