//! An NFS version 3 client as a file system of its own, for machines whose kernel has none.
//!
//! ```text
//!   kernel ──► serve ──► names      lookup, create, rename, remove
//!                  ├───► listing    directories
//!                  └───► contents   open, read, write, save ──► unsaved (write-back)
//!                            │
//!                  nodes (what is believed) ── share ──► protocol ──► rpc ──► server
//! ```
//!
//! Why it is written as it is: `docs/design/0007-the-nfs-client.md`. What users may rely on:
//! `docs/nas-semantics.md`.

mod contents;
mod listing;
mod names;
mod nodes;
mod serve;
mod share;
mod unsaved;

pub(super) use share::Share;
