//! A program in namespaces of its own, from which nothing can leak.
//!
//! ```text
//! outside                       │ new PID, mount, network, IPC, UTS (and, without root, user) namespaces
//!                               │
//! spawn() ── starts ─► anchor ──┼── forks ─► PID 1: a tiny init ── forks ─► the program, back from enter()
//!    ▲  the anchor waits and    │            reaps orphans; ends, and with it        loopback up, fresh /proc,
//!    │  passes the exit status  │            everything, when the program ends,      mounts private
//!    │                          │            the anchor dies or the outside dies
//!    └───────────── one socket: file descriptors in, hang-up = the outside is gone
//! ```
//!
//! [`spawn`] starts `program args…` with the socket as its standard input; the program calls [`enter`] before it
//! starts any thread, and the call returns inside. When PID 1 ends, for whatever reason, the kernel kills every
//! process of the PID namespace, and with the last process go the mounts and interfaces. The death of the outside is
//! noticed twice over: by the parent-death signal, and by the socket's hang-up, which also covers a death before that
//! signal was asked for.
//!
//! PID 1 is not the program itself so that whoever reaps orphans (PID 1) and whoever waits for its own children (the
//! program's async runtime) cannot steal each other's exit statuses.

pub(crate) mod channel;
mod error;
mod identity;
mod init;
mod inside;
mod outside;

pub use error::EnclosureError;
pub use identity::Identities;
pub use inside::{Enclosed, enter};
pub use outside::{Enclosure, EnclosureOptions, spawn};
