//! An embedded NFSv3 server: the file storage that stands for NAS in a lab.
//!
//! ```text
//! TcpListener ─► connection: record marking, calls side by side
//!                    └─► service: credentials, faults, repeated calls, journal
//!                            ├─► portmap   which port a program has
//!                            ├─► mount     a path becomes a file handle
//!                            └─► procedures ─► export: a folder, never left
//! ```
//!
//! NFS, MOUNT and the port mapper are answered on every port alike, as Alibaba Cloud NAS does on 2049. An export is a
//! folder below the server's directory. A file handle names an inode by its number and its birth, so it lives through
//! renames and through a restart of the server, and a handle of something that is gone gets `NFS3ERR_STALE`. A
//! symbolic link is only ever handed out as such: no call follows one, neither in MOUNT nor in NFS, so nothing that a
//! client plants leads out of the export (`storage.md` §6.4).
//!
//! Requests act with the rights that their `AUTH_UNIX` credentials have under the modes of the files, after the
//! export's squashing. Faults are data ([`lab::NasFault`]) and strike in front of all that.
#![warn(missing_docs)]

mod account;
mod attributes;
mod connection;
mod contents;
mod credentials;
mod export;
mod fault;
mod handle;
mod listing;
mod mount;
mod open_files;
mod portmap;
mod procedures;
mod repeated;
mod rpc;
mod server;
mod service;
mod status;
mod tree;
mod unstable;

pub use contents::{ContentsError, Entry, Kind};
pub use export::ExportError;
pub use fault::{FaultError, FaultId};
pub use lab::{ExportAccess as Access, ExportOptions, Squash};
pub use server::{NasOptions, NasSim};
