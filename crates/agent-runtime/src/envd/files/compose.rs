//! `POST /files/compose`: several files, one after the other, become one.

use std::io;
use std::path::PathBuf;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;

use super::entry::{Entry, Metadata};
use super::{account_of, blocking, place, target};
use crate::envd::http_error::HttpError;
use crate::envd::state::SharedEnvd;

#[derive(Debug, Deserialize)]
struct Compose {
    source_paths: Vec<String>,
    destination: String,
    username: Option<String>,
}

/// Writes the sources to the destination; they stay as they are.
pub(super) async fn compose(State(envd): State<SharedEnvd>, body: Bytes) -> Result<Json<Entry>, HttpError> {
    let compose: Compose = serde_json::from_slice(&body)
        .map_err(|problem| HttpError::bad_request(format!("cannot read the body: {problem}")))?;
    if compose.source_paths.is_empty() || compose.destination.is_empty() {
        return Err(HttpError::bad_request("want at least one source path, and a destination"));
    }
    let account = account_of(&envd, compose.username.as_deref())?;
    let sources = compose.source_paths.iter().map(|path| target(&envd, &account, path));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let destination = target(&envd, &account, &compose.destination)?;
    if sources.contains(&destination) {
        return Err(HttpError::bad_request("the destination is also a source"));
    }
    blocking(move || {
        let inputs = sources.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut output = place::open(&destination, &account)?;
        for mut input in inputs {
            io::copy(&mut input, &mut output).map_err(|problem| failed("write", &destination, &problem))?;
        }
        nix::unistd::close(output).map_err(|errno| failed("write", &destination, &errno.into()))?;
        Ok(Json(Entry::new(&destination, Metadata::new())))
    })
    .await
}

fn open(path: &PathBuf) -> Result<std::fs::File, HttpError> {
    if path.is_dir() {
        return Err(HttpError::bad_request(format!("cannot read {}: it is a directory", path.display())));
    }
    std::fs::File::open(path).map_err(|problem| failed("read", path, &problem))
}

fn failed(action: &str, path: &std::path::Path, problem: &io::Error) -> HttpError {
    HttpError::from_io(&format!("cannot {action} {}", path.display()), problem)
}
