//! What is pinned, in one place.

/// Kubernetes, of the node image and of the programs that are built for it. Newer than 1.34 needs cgroup v2.
pub const KUBERNETES: &str = "v1.33.4";
/// kind: its newest release that knows cgroup v1.
pub const KIND: &str = "v0.30.0";
/// The oldest kind whose node images and ours are alike.
pub(crate) const KIND_OLDEST: (u32, u32) = (0, 27);

/// The node image of a machine that reaches the public registry: the one that belongs to [`KIND`].
pub(crate) const NODE_IMAGE: &str =
    "kindest/node:v1.33.4@sha256:25a6018e48dfcaee478f4a59af81157a437f15e6e140bf103f85a2e7cd0cbbf2";
/// The object store of such a machine: the last image that its makers published.
pub(crate) const MINIO_IMAGE: &str = "minio/minio:RELEASE.2025-09-07T16-13-09Z";

/// Go modules of programs that are built by name: program, package, version.
pub(crate) const GO_PROGRAMS: [GoProgram; 3] = [
    GoProgram { name: "kind", package: "sigs.k8s.io/kind", version: KIND },
    GoProgram {
        name: "minio",
        package: "github.com/minio/minio",
        version: "v0.0.0-20260212201848-7aac2a2c5b7c",
    },
    // The version that kubeadm of this Kubernetes asks for.
    GoProgram { name: "coredns", package: "github.com/coredns/coredns", version: "v1.12.0" },
];

/// A Go program that is built by name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GoProgram {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
}

/// The Kubernetes programs of a node.
pub(crate) const NODE_PROGRAMS: [&str; 3] = ["kubeadm", "kubectl", "kubelet"];
/// The Kubernetes programs of the control plane's image.
pub(crate) const CONTROL_PLANE_PROGRAMS: [&str; 4] =
    ["kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler"];

/// The Debian of images that hold nothing of ours; its containerd and etcd are known to do with [`KUBERNETES`].
pub(crate) const DEBIAN: &str = "bookworm";
/// Releases of Debian, oldest first, with the version of the C library in each.
pub(crate) const DEBIAN_RELEASES: [(&str, (u32, u32)); 2] = [("bookworm", (2, 36)), ("trixie", (2, 41))];
