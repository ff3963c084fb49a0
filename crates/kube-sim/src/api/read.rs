//! Getting and listing objects.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use super::Call;
use crate::error::{ApiError, ApiResult};
use crate::selectors::{FieldSelector, LabelSelector};
use crate::state::State;

/// The label and field selector of a call.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    labels: Option<LabelSelector>,
    fields: Option<FieldSelector>,
    resource: Arc<crate::kinds::ResourceType>,
    name: Option<String>,
}

impl Selection {
    pub(crate) fn of(call: &Call) -> ApiResult<Self> {
        let labels = call.query.get("labelSelector").map(LabelSelector::parse).transpose()?;
        let fields = call
            .query
            .get("fieldSelector")
            .map(|text| FieldSelector::parse(text, &call.resource))
            .transpose()?;
        Ok(Self { labels, fields, resource: Arc::clone(&call.resource), name: call.name.clone() })
    }

    /// Whether a stored object is selected.
    pub(crate) fn matches(&self, stored: &Value) -> bool {
        let labels = self.labels.as_ref().is_none_or(|selector| selector.matches(stored));
        let named = self.name.as_ref().is_none_or(|name| stored["metadata"]["name"] == **name);
        labels
            && named
            && self.fields.as_ref().is_none_or(|selector| {
                if self.resource.converts() {
                    selector.matches(&self.resource.present(stored))
                } else {
                    selector.matches(stored)
                }
            })
    }
}

/// One object.
pub(crate) fn get(state: &State, call: &Call) -> ApiResult<Arc<Value>> {
    let name = call.name()?;
    state.store.get(&call.address(name)).ok_or_else(|| call.not_found(name))
}

/// Every selected object.
pub(crate) fn select(state: &State, call: &Call) -> ApiResult<Vec<Arc<Value>>> {
    let objects = state.store.list(&call.resource.collection, namespace_of(call));
    selected(call, objects)
}

fn selected(call: &Call, mut objects: Vec<Arc<Value>>) -> ApiResult<Vec<Arc<Value>>> {
    let selection = Selection::of(call)?;
    objects.retain(|object| selection.matches(object));
    Ok(objects)
}

pub(crate) fn namespace_of(call: &Call) -> Option<&str> {
    (!call.namespace.is_empty()).then_some(call.namespace.as_str())
}

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Value>>,
    pub(crate) revision: u64,
    pub(crate) next: Option<String>,
    pub(crate) remaining: Option<usize>,
}

/// The selected objects, at most `limit` of them from where `continue` says.
///
/// Every page shows the objects as they were at the revision of the first one. Where the history doesn't reach back to
/// it any more, the refusal has a token with which the list goes on from the same place as things are now.
pub(crate) fn list(state: &State, call: &Call) -> ApiResult<Page> {
    check_version_match(call)?;
    let mut revision = state.store.revision();
    let mut objects = if let Some(token) = call.query.get("continue") {
        let (first, namespace, name) = decode(token).ok_or_else(|| {
            ApiError::bad_request("invalid continue token: it does not come from an earlier list")
        })?;
        if first != LATEST {
            revision = first;
        }
        let then = state.store.list_at(&call.resource.collection, namespace_of(call), revision);
        let then = then.map_err(|_| ApiError::continue_expired(encode(LATEST, &namespace, &name)))?;
        let mut rest = selected(call, then)?;
        rest.retain(|object| place(object) > (namespace.as_str(), name.as_str()));
        rest
    } else {
        select(state, call)?
    };
    let limit = call.query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0);
    if limit == 0 || objects.len() <= limit {
        return Ok(Page { objects, revision, next: None, remaining: None });
    }
    let selective = call.query.get("labelSelector").is_some() || call.query.get("fieldSelector").is_some();
    let remaining = (!selective).then_some(objects.len() - limit);
    objects.truncate(limit);
    let next = objects.last().map(|last| {
        let (namespace, name) = place(last);
        encode(revision, namespace, name)
    });
    Ok(Page { objects, revision, next, remaining })
}

fn check_version_match(call: &Call) -> ApiResult<()> {
    let matching = call.query.get("resourceVersionMatch");
    let version = call.query.get("resourceVersion");
    match matching {
        Some(_) if version.is_none() => {
            Err(ApiError::bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided"))
        }
        Some("Exact" | "NotOlderThan") | None => Ok(()),
        Some(other) => {
            Err(ApiError::bad_request(format!("resourceVersionMatch: Unsupported value: {other:?}")))
        }
    }
}

fn place(object: &Value) -> (&str, &str) {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    (text("namespace"), text("name"))
}

/// In a token: whatever revision is the latest when it is used. No object has revision 0.
const LATEST: u64 = 0;

fn encode(revision: u64, namespace: &str, name: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{revision}\n{namespace}\n{name}"))
}

fn decode(token: &str) -> Option<(u64, String, String)> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let mut lines = text.split('\n');
    let revision = lines.next()?.parse().ok()?;
    Some((revision, lines.next()?.to_owned(), lines.next()?.to_owned()))
}
