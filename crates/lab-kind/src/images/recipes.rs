//! The recipes below `kind/images`, as they are in this executable.

use super::context::File;

macro_rules! recipe {
    ($folder:literal: $($path:literal $(($executable:tt))?),* $(,)?) => {
        &[$(File {
            path: $path,
            text: include_str!(concat!("../../../../kind/images/", $folder, "/", $path)),
            executable: recipe!(@ $($executable)?),
        }),*]
    };
    (@) => { false };
    (@ x) => { true };
}

pub(crate) const NODE: &[File] = recipe!("node":
    "Dockerfile",
    "files/etc/cni/net.d/10-bridge.conflist",
    "files/etc/containerd/config.toml",
    "files/etc/default/kubelet",
    "files/etc/systemd/system/containerd.service",
    "files/etc/systemd/system/dns-tcp.service",
    "files/etc/systemd/system/dns-udp.service",
    "files/etc/systemd/system/kubelet.service",
    "files/etc/systemd/system/kubelet.slice",
    "files/kind/manifests/default-cni.yaml",
    "files/kind/manifests/default-storage.yaml",
    "files/kind/patches/etcd+strategic.yaml",
    "files/kind/patches/kube-apiserver+strategic.yaml",
    "files/usr/local/bin/entrypoint" (x),
    "files/usr/local/bin/kubelet-cgroup" (x),
);

pub(crate) const PACKAGES: &[File] = recipe!("packages": "Dockerfile");

pub(crate) const KUBERNETES: &[File] = recipe!("kubernetes": "Dockerfile");

pub(crate) const ENTRY_POINTS: &[File] = recipe!("entry-points": "Dockerfile");

pub(crate) const RELAXED_NODE: &[File] = recipe!("relaxed-node": "Dockerfile");

pub(crate) const MINIO: &[File] = recipe!("minio": "Dockerfile");

pub(crate) const NFS: &[File] = recipe!("nfs":
    "Dockerfile",
    "files/etc/ganesha/exports.conf",
    "files/etc/ganesha/ganesha.conf",
    "files/usr/local/bin/serve" (x),
);

pub(crate) const MOUNTLAB: &[File] = recipe!("mountlab": "Dockerfile");

pub(crate) const SANDBOX: &[File] = recipe!("sandbox": "Dockerfile");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("node", NODE)]
    #[case("packages", PACKAGES)]
    #[case("kubernetes", KUBERNETES)]
    #[case("entry-points", ENTRY_POINTS)]
    #[case("relaxed-node", RELAXED_NODE)]
    #[case("minio", MINIO)]
    #[case("nfs", NFS)]
    #[case("mountlab", MOUNTLAB)]
    #[case("sandbox", SANDBOX)]
    fn no_file_of_a_recipe_is_forgotten(#[case] name: &str, #[case] recipe: &[File]) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kind/images").join(name);
        let mut there = BTreeSet::new();
        list(&folder, &folder, &mut there);
        let listed: BTreeSet<String> = recipe.iter().map(|file| file.path.to_owned()).collect();
        assert_eq!(listed, there);
    }

    fn list(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                list(root, &path, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
}
