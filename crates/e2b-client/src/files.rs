//! Files in a sandbox: envd's `/files` and `filesystem.Filesystem` (`e2b-api.md` §9.5, §12).

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::ClientError;
use crate::request::exchange;
use crate::sandbox::Sandbox;

/// What a path is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum FileKind {
    /// A regular file.
    #[serde(rename(deserialize = "FILE_TYPE_FILE", serialize = "file"))]
    File,
    /// A directory.
    #[serde(rename(deserialize = "FILE_TYPE_DIRECTORY", serialize = "directory"))]
    Directory,
    /// A symbolic link that leads nowhere.
    #[serde(rename(deserialize = "FILE_TYPE_SYMLINK", serialize = "symlink"))]
    Symlink,
    /// Something else.
    #[serde(other, rename(serialize = "other"))]
    Other,
}

/// One entry of a directory.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Its name in the directory.
    pub name: String,
    /// What it is; of a link, what the link leads to.
    #[serde(rename(deserialize = "type", serialize = "type"))]
    pub kind: FileKind,
    /// Its absolute path.
    pub path: String,
    /// Its length in bytes.
    #[serde(default, deserialize_with = "number_or_text")]
    pub size: i64,
    /// Permission bits.
    #[serde(default)]
    pub mode: u32,
    /// `-rw-r--r--`.
    #[serde(default)]
    pub permissions: String,
    /// Name of the owner.
    #[serde(default)]
    pub owner: String,
    /// Name of the group.
    #[serde(default)]
    pub group: String,
    /// Where a link leads, fully resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symlink_target: Option<String>,
}

#[derive(Deserialize)]
struct ListAnswer {
    #[serde(default)]
    entries: Vec<FileEntry>,
}

#[derive(Deserialize)]
struct EntryAnswer {
    entry: FileEntry,
}

impl Sandbox {
    /// The content of a file.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when it is missing, 400 when it is a directory.
    pub async fn read(&self, path: &str, user: Option<&str>) -> Result<Vec<u8>, ClientError> {
        let operation = format!("read {path} in sandbox {}", self.id());
        let request = self.with_path(Method::GET, path, user);
        Ok(exchange(&operation, request, self.limit).await?.body)
    }

    /// Writes a file as a whole, making its parents.
    ///
    /// # Errors
    /// [`ClientError`]; 507 when the disk is full.
    pub async fn write(&self, path: &str, content: &[u8], user: Option<&str>) -> Result<(), ClientError> {
        let operation = format!("write {path} in sandbox {}", self.id());
        let (boundary, body) = multipart(path, content);
        let request = self
            .with_path(Method::POST, path, user)
            .header("Content-Type", format!("multipart/form-data; boundary={boundary}"))
            .body(body);
        let written: Vec<Value> = exchange(&operation, request, self.limit).await?.json()?.value;
        if written.is_empty() {
            return Err(ClientError::malformed(&operation, "the answer names no file"));
        }
        Ok(())
    }

    /// The entries of a directory and of those below it, `depth` levels deep; 1 is the directory itself.
    ///
    /// # Errors
    /// [`ClientError`]; `not_found` when it is missing, `invalid_argument` when it is a file.
    pub async fn list(
        &self,
        path: &str,
        depth: u32,
        user: Option<&str>,
    ) -> Result<Vec<FileEntry>, ClientError> {
        let operation = format!("list {path} in sandbox {}", self.id());
        let body = json!({ "path": path, "depth": depth });
        let answer: ListAnswer = self.unary(&operation, "filesystem.Filesystem/ListDir", user, &body).await?;
        Ok(answer.entries)
    }

    /// What a path is.
    ///
    /// # Errors
    /// [`ClientError`]; `not_found` when it is missing.
    pub async fn stat(&self, path: &str, user: Option<&str>) -> Result<FileEntry, ClientError> {
        self.entry("stat", "Stat", path, user).await
    }

    /// Makes a directory and its parents.
    ///
    /// # Errors
    /// [`ClientError`]; `already_exists` when it is there.
    pub async fn make_dir(&self, path: &str, user: Option<&str>) -> Result<FileEntry, ClientError> {
        self.entry("make directory", "MakeDir", path, user).await
    }

    /// Removes a file, or a directory with everything in it. One that is missing is no error.
    ///
    /// # Errors
    /// [`ClientError`] when envd refuses.
    pub async fn remove(&self, path: &str, user: Option<&str>) -> Result<(), ClientError> {
        let operation = format!("remove {path} in sandbox {}", self.id());
        let body = json!({ "path": path });
        let _: Value = self.unary(&operation, "filesystem.Filesystem/Remove", user, &body).await?;
        Ok(())
    }

    async fn entry(
        &self,
        verb: &str,
        method: &str,
        path: &str,
        user: Option<&str>,
    ) -> Result<FileEntry, ClientError> {
        let operation = format!("{verb} {path} in sandbox {}", self.id());
        let method = format!("filesystem.Filesystem/{method}");
        let answer: EntryAnswer = self.unary(&operation, &method, user, &json!({ "path": path })).await?;
        Ok(answer.entry)
    }

    fn with_path(&self, method: Method, path: &str, user: Option<&str>) -> reqwest::RequestBuilder {
        let mut query = vec![("path", path)];
        query.extend(user.map(|user| ("username", user)));
        self.request_with_query(method, &["files"], &query, None)
    }
}

/// One part named `file`, as the SDKs send text and bytes, and the boundary, which occurs nowhere in `content`.
fn multipart(path: &str, content: &[u8]) -> (String, Vec<u8>) {
    let mut number = 0_u32;
    let boundary = loop {
        let candidate = format!("mountlab-boundary-{number}");
        let taken = content.windows(candidate.len()).any(|window| window == candidate.as_bytes());
        if !taken {
            break candidate;
        }
        number += 1;
    };
    let name = path.replace('"', "%22").replace(['\r', '\n'], " ");
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(content);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (boundary, body)
}

/// 64-bit integers travel as text in the JSON mapping of protocol buffers; numbers are accepted too.
fn number_or_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}
