//! `GET /v2/sandboxes` (`e2b-api.md` §4.4).

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use contract::crd::Sandbox;
use http::HeaderValue;

use super::context::Context;
use super::list_query::{Cursor, ListQuery};
use super::view::{View, metadata};
use crate::error::ApiError;
use crate::keys::Caller;
use crate::manager::Manager;
use crate::sandboxes::{self, Situation};

/// The header that names the next page; absent on the last one.
pub(crate) const NEXT: &str = "x-next-token";

/// The caller's sandboxes, page by page.
pub(crate) async fn list(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = ListQuery::parse(query.as_deref().unwrap_or_default())?;
    let now = manager.now();
    let wanted = |sandbox: &Sandbox| {
        let state_fits = match Situation::of(sandbox, now) {
            Situation::Running => query.running,
            Situation::Pausing | Situation::Paused | Situation::Waking => query.paused,
            Situation::NotReady | Situation::Hidden => false,
        };
        state_fits && manager.owns(&caller, sandbox) && fits(&query, sandbox)
    };
    let found = manager.shared.sandboxes.select(wanted);
    let (page, next) = page(&query, found);
    let domain = context.domain(manager.shared.options.domain.as_deref())?;
    let views = page
        .iter()
        .map(|sandbox| View::within(&manager, domain.clone(), sandbox, Situation::of(sandbox, now)).value());
    let mut response = Json(views.collect::<Vec<_>>()).into_response();
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next.encode()).ok()) {
        response.headers_mut().insert(NEXT, next);
    }
    Ok(response)
}

fn fits(query: &ListQuery, sandbox: &Sandbox) -> bool {
    let started = query.started_after.is_none_or(|after| sandboxes::started_at(sandbox) >= after);
    let template = query.template.as_ref().is_none_or(|template| sandboxes::template(sandbox) == template);
    if !started || !template {
        return false;
    }
    if query.metadata.is_empty() {
        return true;
    }
    let metadata = metadata(sandbox);
    query.metadata.iter().all(|(key, value)| metadata.get(key) == Some(value))
}

/// One page in the order asked for, and the place where the next begins, if there is more.
fn page(query: &ListQuery, found: Vec<Arc<Sandbox>>) -> (Vec<Arc<Sandbox>>, Option<Cursor>) {
    let place =
        |sandbox: &Sandbox| Cursor { started: sandboxes::started_at(sandbox), id: sandboxes::id(sandbox) };
    let mut ordered: Vec<_> = found.into_iter().map(|sandbox| (place(&sandbox), sandbox)).collect();
    ordered.sort_by(|(left, _), (right, _)| if query.descending { right.cmp(left) } else { left.cmp(right) });
    if let Some(after) = &query.after {
        ordered.retain(|(place, _)| if query.descending { place < after } else { place > after });
    }
    let more = ordered.len() > query.limit;
    ordered.truncate(query.limit);
    let next = ordered.last().filter(|_| more).map(|(place, _)| place.clone());
    (ordered.into_iter().map(|(_, sandbox)| sandbox).collect(), next)
}

#[cfg(test)]
mod tests {
    use contract::crd::SandboxSpec;
    use contract::names::annotations;
    use kube::ResourceExt as _;
    use rstest::rstest;

    use super::*;

    fn sandbox(name: &str, started: &str) -> Arc<Sandbox> {
        let mut sandbox = Sandbox::new(name, SandboxSpec::default());
        sandbox.metadata.namespace = Some("default".into());
        sandbox.annotations_mut().insert(annotations::CLAIM_TIMESTAMP.into(), started.into());
        Arc::new(sandbox)
    }

    #[rstest]
    #[case(false, ["a", "b", "c", "d", "e"])]
    #[case(true, ["e", "d", "c", "b", "a"])]
    fn pages_hold_everything_once_even_with_equal_times(
        #[case] descending: bool,
        #[case] expected: [&str; 5],
    ) {
        let all: Vec<_> = [("c", 1), ("a", 1), ("e", 2), ("b", 1), ("d", 2)]
            .map(|(name, second)| sandbox(name, &format!("2026-11-24T03:00:0{second}Z")))
            .into();
        let mut query = ListQuery { limit: 2, descending, ..ListQuery::default() };
        let mut seen = Vec::new();
        loop {
            let (page, next) = page(&query, all.clone());
            seen.extend(page.iter().map(|sandbox| sandbox.name_any()));
            query.after = next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected);
    }
}
