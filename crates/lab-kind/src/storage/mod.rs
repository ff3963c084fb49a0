//! The storage servers: containers on the cluster's network, which pods and this machine reach.

mod container;
mod exports;
mod minio;
mod nfs;
mod rpc;

pub use container::Container;
pub use exports::{ADMINISTRATION, EXPORTS, NfsExport};
pub use minio::Minio;
pub use nfs::NfsServer;
