//! `POST /init`: who hands over the sandbox sets token, environment and defaults (`e2b-api.md` §9.2).

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::access::equal;
use super::http_error::HttpError;
use super::state::{Identity, SharedEnvd};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Init {
    env_vars: Option<BTreeMap<String, String>>,
    access_token: Option<String>,
    timestamp: Option<Timestamp>,
    default_user: Option<String>,
    default_workdir: Option<String>,
}

/// Applies an initialisation.
pub(crate) async fn init(State(envd): State<SharedEnvd>, body: Bytes) -> Result<StatusCode, HttpError> {
    let init = parse(&body)?;
    let applied = {
        let mut identity = envd.identity();
        check_token(&identity, init.access_token.as_deref())?;
        apply(&mut identity, init)
    };
    let identity = envd.identity();
    let body = json!({ "applied": applied, "token": identity.token.is_some(), "variables": identity.environment.len() });
    drop(identity);
    crate::announcement::announce("initialized", "envd", body);
    Ok(StatusCode::NO_CONTENT)
}

fn parse(body: &[u8]) -> Result<Init, HttpError> {
    if body.trim_ascii().is_empty() {
        return Ok(Init::default());
    }
    // The parser's own words could quote a value, so they are not passed on.
    serde_json::from_slice(body).map_err(|problem| {
        HttpError::bad_request(format!("cannot read the body: see column {}", problem.column()))
    })
}

fn check_token(identity: &Identity, given: Option<&str>) -> Result<(), HttpError> {
    let Some(token) = &identity.token else { return Ok(()) };
    let same = given.is_some_and(|given| equal(given.as_bytes(), token.as_bytes()));
    if same {
        Ok(())
    } else {
        Err(HttpError::unauthorized("the sandbox is initialized with another access token"))
    }
}

/// Applies `init` unless a newer one was applied before; says whether it did.
fn apply(identity: &mut Identity, init: Init) -> bool {
    if let Some(token) = init.access_token.filter(|token| !token.is_empty()) {
        identity.token = Some(token);
    }
    if let Some(timestamp) = init.timestamp {
        if identity.applied.is_some_and(|applied| timestamp < applied) {
            return false;
        }
        identity.applied = Some(timestamp);
    }
    if let Some(variables) = init.env_vars {
        identity.environment = variables;
    }
    if let Some(user) = init.default_user.filter(|user| !user.is_empty()) {
        identity.default_user = Some(user);
    }
    if let Some(workdir) = init.default_workdir.filter(|workdir| !workdir.is_empty()) {
        identity.default_workdir = Some(workdir.into());
    }
    true
}
