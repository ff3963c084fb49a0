//! The storage servers: containers on the cluster's network, which pods and this machine reach.

mod apart;
mod container;
mod exports;
mod minio;
mod nfs;
mod rpc;
mod site;

pub(crate) use apart::{Apart, ServersApart};
pub use container::Container;
pub use exports::{ADMINISTRATION, EXPORTS, NfsExport};
pub use minio::Minio;
pub use nfs::NfsServer;
pub(crate) use site::{Seat, Site, servers};
