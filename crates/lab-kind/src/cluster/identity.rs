//! Whose cluster it is.

use std::path::Path;

use serde_json::Value;

use super::{Names, OWNER_FOLDER};
use crate::KindError;
use crate::docker::Docker;

/// Whose the cluster of a name is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Owner {
    /// There is none.
    Nobody,
    /// Ours, made of this image.
    Us { image: String },
    /// Somebody else's; why we think so.
    Other(String),
}

/// Finds out whose the cluster of these names is. `folder` is where we keep ours.
pub(crate) async fn owner_of(docker: &Docker, names: &Names, folder: &Path) -> Result<Owner, KindError> {
    if let Some(node) = docker.inspect("container", &names.node).await? {
        return Ok(owner(&node, folder));
    }
    // A cluster with other nodes than ours has.
    let label = format!("label=io.x-k8s.kind.cluster={}", names.cluster);
    let said = docker
        .command(format!("asking Docker for the cluster {}", names.cluster))
        .args(["ps", "--all", "--quiet", "--filter", &label])
        .output()
        .await?;
    Ok(if said.trim().is_empty() { Owner::Nobody } else { Owner::Other("it has other nodes".to_owned()) })
}

fn owner(node: &Value, folder: &Path) -> Owner {
    let mounts = node["Mounts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mark = mounts.iter().find(|mount| mount["Destination"] == OWNER_FOLDER);
    match mark.and_then(|mount| mount["Source"].as_str()) {
        None => Owner::Other("its node does not carry our mark".to_owned()),
        Some(source) if Path::new(source).starts_with(folder) => {
            Owner::Us { image: node["Config"]["Image"].as_str().unwrap_or_default().to_owned() }
        }
        Some(source) => Owner::Other(format!("it belongs to the mountlab of {source}")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::unmarked(json!({"Mounts": [{"Destination": "/var", "Source": "/x"}]}), "other: its node does not")]
    #[case::no_mounts(json!({}), "other: its node does not")]
    #[case::ours(
        json!({"Mounts": [{"Destination": OWNER_FOLDER, "Source": "/cache/lab/owner"}], "Config": {"Image": "node:1"}}),
        "us: node:1"
    )]
    #[case::of_another_folder(
        json!({"Mounts": [{"Destination": OWNER_FOLDER, "Source": "/cache/lab2/owner"}]}),
        "other: it belongs to the mountlab of /cache/lab2/owner"
    )]
    fn a_cluster_is_ours_by_its_mark(#[case] node: Value, #[case] expected: &str) {
        let text = match owner(&node, Path::new("/cache/lab")) {
            Owner::Nobody => "nobody".to_owned(),
            Owner::Us { image } => format!("us: {image}"),
            Owner::Other(words) => format!("other: {words}"),
        };
        assert!(text.starts_with(expected), "{text}");
    }
}
