//! An object: its bytes and what is known about them.

use std::collections::HashMap;

use jiff::Timestamp;

use super::content::Content;

/// The headers that a client stores with an object and gets back with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) cache_control: Option<String>,
    /// User metadata: the `x-amz-meta-` headers, without that prefix.
    pub(crate) metadata: HashMap<String, String>,
}

/// A stored object; it never changes, a new one takes its place.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) content: Content,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) modified: Timestamp,
    pub(crate) description: Description,
    /// Sizes of the parts it was uploaded in; empty for an object that was put in one piece.
    pub(crate) parts: Vec<u64>,
}

impl Object {
    /// Number of bytes.
    pub(crate) fn size(&self) -> u64 {
        self.content.length()
    }
}
