//! `/files`: whole files up and down (`e2b-api.md` §9.5).

mod compose;
mod encoding;
pub(crate) mod entry;
pub(crate) mod place;
mod read;
mod upload;
mod write;

use std::path::PathBuf;

use axum::Router;
use axum::extract::Query;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;

use super::access::{Claim, TOKEN_HEADER, check_header};
use super::accounts::Account;
use super::http_error::HttpError;
use super::paths::resolve;
use super::state::{AccountError, Envd, SharedEnvd};

/// The routes of the files.
pub(crate) fn routes() -> Router<SharedEnvd> {
    Router::new()
        .route("/files", get(read::read).post(write::write))
        .route("/files/compose", post(compose::compose))
}

/// The query of `/files`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FilesQuery {
    path: Option<String>,
    username: Option<String>,
    signature: Option<String>,
    signature_expiration: Option<i64>,
}

impl FilesQuery {
    fn from_uri(uri: &Uri) -> Result<Self, HttpError> {
        let parsed = Query::try_from_uri(uri);
        parsed.map(|Query(query)| query).map_err(|problem| HttpError::bad_request(problem.body_text()))
    }

    /// Whether the caller may do `operation`: with the token in a header, or with a signature in the query.
    fn authorize(&self, envd: &Envd, headers: &HeaderMap, operation: &'static str) -> Result<(), HttpError> {
        let identity = envd.identity();
        let Some(token) = identity.token.as_deref() else { return Ok(()) };
        if headers.contains_key(TOKEN_HEADER) {
            return check_header(Some(token), headers);
        }
        let claim = Claim {
            path: self.path.as_deref().unwrap_or_default(),
            operation,
            username: self.username.as_deref().unwrap_or_default(),
            expiration: self.signature_expiration,
        };
        claim.check(token, self.signature.as_deref(), envd.options.clock.now().as_second())
    }
}

fn account_of(envd: &Envd, username: Option<&str>) -> Result<Account, HttpError> {
    envd.account(username).map_err(|problem| match problem {
        AccountError::Unknown(_) => HttpError::unauthorized(problem.to_string()),
        AccountError::Unreadable(_) => HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, problem.to_string()),
    })
}

fn target(envd: &Envd, account: &Account, path: &str) -> Result<PathBuf, HttpError> {
    Ok(resolve(path, account, envd.workdir().as_deref())?)
}

/// Runs work on the file system, which may block for long on a network mount, beside the asynchronous tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HttpError> + Send + 'static,
) -> Result<T, HttpError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|problem| Err(HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, problem.to_string())))
}
