//! The configuration of the cluster (`kind/cluster.yaml`).

use std::path::Path;

const CONFIGURATION: &str = include_str!("../../../../kind/cluster.yaml");

/// Where a node shows whose it is: a folder of its owner is mounted there, which Docker tells about every container.
pub(crate) const OWNER_FOLDER: &str = "/var/lib/mountlab-owner";

/// The line of the configuration below which the node's own settings stand.
const NODE: &str = "  - role: control-plane\n";

/// Added for a node image that was built: it brings changes of what kubeadm makes along.
const PATCHES: &str = "  - |
    kind: InitConfiguration
    patches: {directory: /kind/patches}
";

/// The configuration with the owner's mark: the empty folder `owner`. `built` is the node image if it isn't the public
/// one.
pub(crate) fn render(owner: &Path, built: bool) -> String {
    // JSON is YAML, and knows how to quote a path.
    let mount = serde_json::json!([{"hostPath": owner, "containerPath": OWNER_FOLDER, "readOnly": true}]);
    let marked = CONFIGURATION.replacen(NODE, &format!("{NODE}    extraMounts: {mount}\n"), 1);
    if built {
        marked.replacen("kubeadmConfigPatches:\n", &format!("kubeadmConfigPatches:\n{PATCHES}"), 1)
    } else {
        marked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_carries_its_owners_mark() {
        let text = render(Path::new("/home/a \"b\"/owner"), false);
        let mark = r#"extraMounts: [{"containerPath":"/var/lib/mountlab-owner","hostPath":"/home/a \"b\"/owner","readOnly":true}]"#;
        assert!(text.contains(&format!("{NODE}    {mark}\n")), "{text}");
        assert!(!text.contains("InitConfiguration"), "{text}");
    }

    #[test]
    fn a_built_node_brings_its_patches() {
        let text = render(Path::new("/owner"), true);
        assert!(text.contains(&format!("kubeadmConfigPatches:\n{PATCHES}  - |\n")), "{text}");
    }
}
