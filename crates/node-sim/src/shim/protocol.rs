//! What node and shim say to each other. Specifications hold environments and so may hold secrets: they travel in
//! memory files, never in arguments, and are read by the set-up process only, not by the server.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Node to shim; comes with three descriptors: the specification's memory file, standard output, standard error.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Request {
    /// Chosen by the node, comes back in [`Report::Started`] or [`Report::Failed`].
    pub(crate) id: u64,
    /// What the memory file holds.
    pub(crate) kind: RequestKind,
}

/// Kinds of requests.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum RequestKind {
    /// A container: [`ContainerSpec`].
    Run,
    /// A command in a running container: [`ExecSpec`].
    Exec,
}

/// Shim to node.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Report {
    /// The process runs; for a container, its set-up is done and its program was executed.
    Started {
        /// The request.
        id: u64,
        /// Process id as the node sees it.
        pid: i32,
    },
    /// Nothing runs.
    Failed {
        /// The request.
        id: u64,
        /// The step that failed and why.
        message: String,
    },
    /// A process that was reported as started has ended and was reaped.
    Exited {
        /// Process id as the node sees it.
        pid: i32,
        /// How it ended.
        exit: Exit,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The exit code as Kubernetes shows it: 128 + signal for a killed process.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// A container to start.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct ContainerSpec {
    /// Namespace files to join: network, IPC and UTS of the pod.
    pub(crate) namespaces: Vec<PathBuf>,
    /// An empty directory where the root is put together.
    pub(crate) root: PathBuf,
    /// Overlays that make the root, the outermost first.
    pub(crate) overlays: Vec<Overlay>,
    /// Volumes and files, in the order of mounting.
    pub(crate) mounts: Vec<MountSpec>,
    /// Device nodes of the machine that appear in the container's `/dev` under the same name.
    pub(crate) devices: Vec<String>,
    /// Keeps every capability and an unmasked `/proc`.
    pub(crate) privileged: bool,
    /// The root refuses writes; volumes don't.
    pub(crate) read_only_root: bool,
    /// Whether the overlay keeps its marks in user attributes, as it must in a user namespace.
    pub(crate) user_namespace: bool,
    /// What runs as the container's first process.
    pub(crate) process: ProcessSpec,
}

/// One overlay file system of a container's root.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Overlay {
    /// Relative to the root; empty for the root itself.
    pub(crate) target: PathBuf,
    /// The read-only layers, the topmost first.
    pub(crate) lower: Vec<PathBuf>,
    /// The writable layer.
    pub(crate) upper: PathBuf,
    /// The overlay's working directory, on the file system of `upper`.
    pub(crate) work: PathBuf,
}

/// A directory or file that appears in the container.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct MountSpec {
    /// Path as the node sees it.
    pub(crate) source: PathBuf,
    /// A path within `source`, made as a directory if it isn't there; it can't lead out of `source`.
    pub(crate) sub_path: Option<PathBuf>,
    /// Absolute path in the container; symbolic links are followed within the container's root.
    pub(crate) target: PathBuf,
    /// Refuses writes.
    pub(crate) read_only: bool,
    /// Which mounts are seen on the other side.
    pub(crate) propagation: Propagation,
}

/// Mount propagation in the words of a pod's specification.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Propagation {
    /// No later mount crosses.
    None,
    /// Later mounts under the source appear in the container.
    HostToContainer,
    /// And those made in the container appear under the source.
    Bidirectional,
}

/// A command in a running container.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct ExecSpec {
    /// The container's first process.
    pub(crate) container: i32,
    /// Keeps every capability.
    pub(crate) privileged: bool,
    /// What is run.
    pub(crate) process: ProcessSpec,
}

/// A program and how it is run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct ProcessSpec {
    /// Program and arguments; empty for the built-in idle process.
    pub(crate) args: Vec<String>,
    /// The whole environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Working directory, made if it isn't there; empty for `/`.
    pub(crate) working_directory: String,
    /// User id.
    pub(crate) user: u32,
    /// Group id.
    pub(crate) group: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// Capabilities of a process that is not privileged, as a bit mask.
    pub(crate) capabilities: u64,
    /// Whether executing a set-user-id program gains nothing.
    pub(crate) no_new_privileges: bool,
}
