//! The images of a cluster: fetched by pinned name, or built, whichever can be done here.
//!
//! ```text
//!                 registry answers        no registry
//! base            debian:…-slim           mmdebstrap, imported
//! node            kindest/node            base + packages + Kubernetes from its Go module
//! object store    minio/minio             base + MinIO from its Go module
//! NFS server, sandbox, ours               base + packages
//! ```
//!
//! What is built is named after the content of its recipe, of everything below it and of every program in it, so a
//! second run finds all of it, and one that was interrupted goes on where it was.

mod base;
mod builder;
mod context;
mod go;
mod node;
mod recipes;
mod source;
mod toolchain;

use std::path::PathBuf;

pub(crate) use builder::Builder;
pub(crate) use go::GoBuilds;
pub use source::ImagePolicy;
pub(crate) use source::{Source, described, reachable};
pub(crate) use toolchain::Toolchain;

/// What the names of built images begin with.
pub(crate) const BUILT: &str = "mountlab.dev/";

/// The images that exist once an environment is up.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Images {
    /// A node of the cluster.
    pub node: String,
    /// The object store.
    pub minio: String,
    /// The NFS server.
    pub nfs: String,
    /// Our executable: controller, manager, and the agent that is injected.
    pub mountlab: String,
    /// Our executable and the programs that mount.
    pub csi_agent: String,
    /// What sandboxes start from.
    pub sandbox: String,
}

/// The executables that our own images hold.
#[derive(Clone, Debug)]
pub struct Executables {
    /// The one that holds every component.
    pub mountlab: PathBuf,
    /// The one that holds the in-sandbox agent alone, if it was built.
    pub agent: Option<PathBuf>,
}

impl Executables {
    /// `mountlab`, and the agent's own executable if that is beside it.
    pub fn new(mountlab: PathBuf) -> Self {
        let agent = Some(mountlab.with_file_name("agent-runtime")).filter(|path| path.is_file());
        Self { mountlab, agent }
    }
}
