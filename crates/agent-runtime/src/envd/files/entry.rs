//! A written file as the answer shows it, and its metadata.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use http::HeaderMap;
use rustix::fs::XattrFlags;
use serde::Serialize;

/// The prefix of the headers that carry metadata.
const HEADER_PREFIX: &str = "x-metadata-";
/// The prefix of the extended attributes that keep metadata.
const ATTRIBUTE_PREFIX: &str = "user.e2b.";

/// Metadata of a file: names and values of the client's choice.
pub(crate) type Metadata = BTreeMap<String, String>;

/// One element of the answer to a write.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    path: String,
    name: String,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
}

impl Entry {
    /// The file at `path` with what it keeps of its metadata.
    pub(super) fn new(path: &Path, metadata: Metadata) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { path: path.to_string_lossy().into_owned(), name, r#type: "file", metadata }
    }
}

/// The metadata in a request's headers.
pub(super) fn metadata_of(headers: &HeaderMap) -> Metadata {
    let named = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(HEADER_PREFIX).filter(|name| !name.is_empty())?;
        Some((name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    named.collect()
}

/// The metadata of the file at `path`; none where the file system keeps none.
pub(crate) fn read_metadata(path: &Path) -> Metadata {
    let named = attribute_names(path).into_iter().filter_map(|attribute| {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::getxattr(path, &attribute, value.as_mut_slice()).ok()?;
        let name = attribute.strip_prefix(ATTRIBUTE_PREFIX)?.to_owned();
        Some((name, String::from_utf8_lossy(&value[..length]).into_owned()))
    });
    named.collect()
}

fn attribute_names(path: &Path) -> Vec<String> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::listxattr(path, names.as_mut_slice()).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    names.filter(|name| name.starts_with(ATTRIBUTE_PREFIX)).map(ToOwned::to_owned).collect()
}

/// Gives the file at `path` exactly `metadata`. A file system that keeps none is no failure.
pub(super) fn replace_metadata(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let mut outcome = Ok(());
    for name in attribute_names(path) {
        outcome = outcome.and_then(|()| rustix::fs::removexattr(path, name));
    }
    for (name, value) in metadata {
        let attribute = format!("{ATTRIBUTE_PREFIX}{name}");
        outcome = outcome
            .and_then(|()| rustix::fs::setxattr(path, attribute, value.as_bytes(), XattrFlags::empty()));
    }
    match outcome {
        Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => Ok(()),
        outcome => Ok(outcome?),
    }
}
