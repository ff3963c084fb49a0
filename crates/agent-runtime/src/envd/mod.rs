//! E2B's envd: commands, terminals and files of a sandbox, over HTTP and Connect (`e2b-api.md` §9 to §12), and the
//! storage mounts beside them (§13).
//!
//! ```text
//! request ─► CORS ─► access token ─┬─► health, metrics, envs, init, files      {"code": 404, "message": …}
//!                                  ├─► process.Process, filesystem.Filesystem  {"code": "not_found", …}
//!                                  └─► v1/storage                              {"success": false, …}
//! ```
//!
//! Until `/init` hands over a token everything is open. envd acts as root and gives what it makes to the user that a
//! call names, or to the default one.

mod access;
mod accounts;
mod connect;
mod cors;
mod files;
mod filesystem;
mod http_error;
mod init;
mod metrics;
mod mounts;
mod paths;
mod process;
mod rest;
mod rpc_problem;
mod serve;
mod state;
pub mod tls;

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clock::SharedClock;
use http::StatusCode;

use self::connect::{Code, RpcError};
use self::http_error::HttpError;
use self::state::{Envd, SharedEnvd};
use crate::storage;

pub(crate) use self::serve::{Arguments, run};

/// The port that clients expect envd on.
pub const PORT: u16 = contract::names::ENVD_PORT;

/// What envd is given from outside.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with `passwd` and `group`.
    pub accounts: PathBuf,
    /// The user to act as when neither the call nor `/init` names one. Where there is no such account, it is the one
    /// envd runs as.
    pub default_user: String,
    /// The agent's own executable, for starting commands.
    pub launcher: PathBuf,
    /// Tells whether a signature has expired.
    pub clock: SharedClock,
    /// Where storage is mounted, and how.
    pub storage: storage::Surroundings,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            accounts: "/etc".into(),
            default_user: "user".into(),
            launcher: "/proc/self/exe".into(),
            clock: clock::SystemClock::shared(),
            storage: storage::Surroundings::default(),
        }
    }
}

/// Everything envd serves on [`PORT`].
pub fn router(options: Options) -> Router {
    routers(options).0
}

/// What one envd serves: everything, and the storage mounts alone, which [`tls::serve`] is for.
pub fn routers(options: Options) -> (Router, Router) {
    let envd = Envd::new(options);
    (open_router(&envd), closed_router(&envd))
}

fn open_router(envd: &SharedEnvd) -> Router {
    Router::new()
        .route("/health", get(async || StatusCode::NO_CONTENT))
        .route("/metrics", get(metrics::metrics))
        .route("/envs", get(environment))
        .route("/init", post(init::init))
        .merge(files::routes())
        .merge(process::routes())
        .merge(filesystem::routes())
        .merge(mounts::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(async || {
            HttpError::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
        })
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(envd.clone(), access::require_token))
        .layer(from_fn(cors::allow_everything))
        .layer(from_fn(rest::read_to_the_end))
        .with_state(envd.clone())
}

/// What the agent serves with mutual TLS: the storage mounts only.
fn closed_router(envd: &SharedEnvd) -> Router {
    Router::new()
        .route("/health", get(async || StatusCode::NO_CONTENT))
        .merge(mounts::routes())
        .fallback(unknown)
        .layer(from_fn_with_state(envd.clone(), access::require_token))
        .layer(from_fn(rest::read_to_the_end))
        .with_state(envd.clone())
}

async fn environment(State(envd): State<SharedEnvd>) -> Json<BTreeMap<String, String>> {
    Json(envd.default_environment())
}

async fn unknown(request: Request) -> Response {
    let path = request.uri().path();
    if path.starts_with("/process.Process/") || path.starts_with("/filesystem.Filesystem/") {
        return RpcError::new(Code::Unimplemented, format!("there is no method {path}")).into_response();
    }
    HttpError::new(StatusCode::NOT_FOUND, format!("there is no route {path}")).into_response()
}
