//! The kind backend: Docker, images, the cluster, the storage servers, and the product installed on it ([`Kind`]).
//!
//! ```text
//! Environment::up ─► Docker daemon ─► images ─► cluster ─► MinIO, NFS-Ganesha
//!                    there, or ours   pulled,   ours, or
//!                                     or built  made
//! ```
//!
//! Each part is found before it is made, and known again by its own mark: a daemon by its process file, an image by a
//! name that is the digest of its recipe, a cluster and containers by mounts and labels that name the folder they
//! belong to. Whatever doesn't bear the mark is left alone. So a run that was killed leaves nothing that the next one
//! doesn't recognise, and takes over or removes.

mod backend;
mod cluster;
mod command;
mod docker;
mod environment;
mod error;
mod folders;
mod images;
mod lock;
mod machine;
mod observer;
pub mod oci_runtime;
mod powers;
mod storage;
mod versions;

pub use backend::{Kind, kept};
pub use cluster::{Cluster, DOOR};
pub use docker::{DaemonPolicy, Docker};
pub use environment::{Environment, Settings};
pub use error::KindError;
pub use folders::Folders;
pub use images::{Executables, ImagePolicy, Images};
pub use machine::{no_folder, requirements};
pub use observer::{Event, Observer, Silent};
pub use storage::{ADMINISTRATION, Container, EXPORTS, Minio, NfsExport, NfsServer};
pub use versions::{KIND, KUBERNETES};

/// The backend's name.
pub const NAME: &str = "kind";
