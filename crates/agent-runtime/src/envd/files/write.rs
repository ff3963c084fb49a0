//! `POST /files`.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::CONTENT_TYPE;
use multer::Multipart;

use super::encoding::{Chunks, decoded};
use super::entry::{Entry, Metadata, metadata_of};
use super::upload::store;
use super::{FilesQuery, account_of, target};
use crate::envd::accounts::Account;
use crate::envd::http_error::HttpError;
use crate::envd::state::{Envd, SharedEnvd};

/// The name of the parts that are files.
const PART: &str = "file";

/// Stores the files of a request.
pub(super) async fn write(
    State(envd): State<SharedEnvd>,
    request: Request,
) -> Result<Json<Vec<Entry>>, HttpError> {
    let query = FilesQuery::from_uri(request.uri())?;
    query.authorize(&envd, request.headers(), "write")?;
    let account = account_of(&envd, query.username.as_deref())?;
    let (parts, body) = request.into_parts();
    let chunks = decoded(&parts.headers, chunks(body))?;
    let upload = Upload { envd: &envd, account, path: query.path, metadata: metadata_of(&parts.headers) };
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "multipart/form-data" => upload.parts(kind, chunks).await.map(Json),
        "application/octet-stream" => upload.whole(chunks).await.map(|entry| Json(vec![entry])),
        other => Err(HttpError::bad_request(format!(
            "content type {other:?}: want multipart/form-data or application/octet-stream"
        ))),
    }
}

fn chunks(body: Body) -> Chunks {
    body.into_data_stream().map_err(io::Error::other).boxed()
}

struct Upload<'a> {
    envd: &'a Envd,
    account: Account,
    path: Option<String>,
    metadata: Metadata,
}

impl Upload<'_> {
    fn named(&self) -> Option<&str> {
        self.path.as_deref().filter(|path| !path.is_empty())
    }

    fn target(&self, path: &str) -> Result<PathBuf, HttpError> {
        target(self.envd, &self.account, path)
    }

    /// The body is one file.
    async fn whole(self, chunks: Chunks) -> Result<Entry, HttpError> {
        let path =
            self.named().ok_or_else(|| HttpError::bad_request("the query must name the file's path"))?;
        let path = self.target(path)?;
        store(path, self.account, self.metadata, chunks).await
    }

    /// Every part called `file` is a file.
    async fn parts(self, kind: &str, chunks: Chunks) -> Result<Vec<Entry>, HttpError> {
        let unreadable =
            |problem: multer::Error| HttpError::bad_request(format!("cannot read the parts: {problem}"));
        let boundary = multer::parse_boundary(kind).map_err(unreadable)?;
        let mut parts = Multipart::new(chunks, boundary);
        let (mut entries, mut seen) = (Vec::new(), BTreeSet::new());
        while let Some(part) = parts.next_field().await.map_err(unreadable)? {
            if part.name() != Some(PART) {
                continue;
            }
            let path = match (self.named(), part.file_name()) {
                (Some(path), _) => self.target(path)?,
                (None, Some(name)) => self.target(&unescape(name))?,
                (None, None) => return Err(HttpError::bad_request("a part has no file name")),
            };
            if !seen.insert(path.clone()) {
                return Err(HttpError::bad_request(format!("{} is there twice", path.display())));
            }
            entries.push(store(path, self.account.clone(), self.metadata.clone(), part).await?);
        }
        Ok(entries)
    }
}

/// A part's file name as it was before the client made it fit for a header.
fn unescape(name: &str) -> String {
    name.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n")
}
