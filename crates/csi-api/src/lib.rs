//! The Container Storage Interface as a node plugin speaks it: the Identity and Node services.
//!
//! Types, client and servers are generated from `proto/csi.proto` (CSI specification 1.x). Maps are ordered, so
//! that encoding is deterministic. Requests that carry secrets have a [`std::fmt::Debug`] that never shows a value
//! (`storage.md` §10).
#![allow(clippy::pedantic, missing_docs, unreachable_pub)]

use std::fmt;

/// What [`fmt::Debug`] prints in the place of a secret value.
pub const REDACTED: &str = "[redacted]";

mod generated {
    tonic::include_proto!("csi.v1");
}

pub use generated::*;

/// The keys of a map of secrets, each with [`REDACTED`] as its value.
struct Keys<'a>(&'a std::collections::BTreeMap<String, String>);

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.0.keys().map(|key| (key, REDACTED))).finish()
    }
}

impl fmt::Debug for NodePublishVolumeRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NodePublishVolumeRequest")
            .field("volume_id", &self.volume_id)
            .field("publish_context", &Keys(&self.publish_context))
            .field("staging_target_path", &self.staging_target_path)
            .field("target_path", &self.target_path)
            .field("readonly", &self.readonly)
            .field("secrets", &Keys(&self.secrets))
            .field("volume_context", &Keys(&self.volume_context))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NodeStageVolumeRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NodeStageVolumeRequest")
            .field("volume_id", &self.volume_id)
            .field("staging_target_path", &self.staging_target_path)
            .field("secrets", &Keys(&self.secrets))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_publish_request_shows_keys_and_no_secret_value() {
        let request = NodePublishVolumeRequest {
            volume_id: "pv-abc123".into(),
            secrets: [("akSecret".to_owned(), "s3cr3t".to_owned())].into(),
            volume_context: [("otherOpts".to_owned(), "-o x=hidden".to_owned())].into(),
            ..Default::default()
        };
        let shown = format!("{request:?}");
        assert!(shown.contains("akSecret") && shown.contains("pv-abc123"), "{shown}");
        assert!(!shown.contains("s3cr3t") && !shown.contains("hidden"), "{shown}");
    }
}
