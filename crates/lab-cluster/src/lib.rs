//! The cluster backend: scenarios against a system that somebody else has installed, on any Kubernetes cluster
//! (`docs/design/0011-scenarios-on-a-shared-cluster.md`).
//!
//! ```text
//! engine, kubectl, SDKs ──► doors ──► cluster
//!        ▲                              │
//!        └── journal ◄── watches, logs ◄┘
//! ```
//!
//! [`Cluster`] is the [`lab::Backend`]. A lab of it is a tag, a namespace, an API key, two doors and the watches that fill the journal; it
//! goes down by undoing what it did to parts that others share, and by removing what bears its tag, and nothing else.

mod access;
mod backend;
mod components;
mod configuration;
mod departing;
mod disturbances;
mod doors;
mod e2b;
mod install;
mod lab_of_tag;
mod names;
mod nas;
mod powers;
mod remains;
mod store;
mod tables;
mod watch;

pub use access::{ClusterOptions, NasOptions, StoreOptions};
pub use backend::Cluster;
pub use install::{InstallError, SYSTEM_IMAGE, SystemImages, install};
pub use nas::{NfsError, offered_paths};
pub use powers::Powers;
pub use remains::DOWN_LIMIT;
