//! Storing one file from a stream of chunks.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::io::AsyncWriteExt as _;

use super::entry::{Entry, Metadata, replace_metadata};
use super::{blocking, place};
use crate::envd::accounts::Account;
use crate::envd::http_error::HttpError;

/// Writes `chunks` to the file at `path` and gives it `metadata`.
pub(super) async fn store<E: std::fmt::Display>(
    path: PathBuf,
    account: Account,
    metadata: Metadata,
    chunks: impl Stream<Item = Result<Bytes, E>>,
) -> Result<Entry, HttpError> {
    let opened = path.clone();
    let file = blocking(move || place::open(&opened, &account)).await?;
    let mut file = tokio::fs::File::from_std(file);
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|problem| HttpError::bad_request(format!("cannot read the body: {problem}")))?;
        file.write_all(&chunk).await.map_err(|problem| failed(&path, &problem))?;
    }
    file.flush().await.map_err(|problem| failed(&path, &problem))?;
    let file = file.into_std().await;
    blocking(move || {
        // Network file systems tell about a failed write only when the file is closed.
        nix::unistd::close(file).map_err(|errno| failed(&path, &errno.into()))?;
        replace_metadata(&path, &metadata).map_err(|problem| failed(&path, &problem))?;
        Ok(Entry::new(&path, metadata))
    })
    .await
}

fn failed(path: &Path, problem: &io::Error) -> HttpError {
    HttpError::from_io(&format!("cannot write {}", path.display()), problem)
}
