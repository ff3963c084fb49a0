//! Remote procedure calls (RFC 5531) over TCP, many at once on one connection.
//!
//! ```text
//!   call ──► client ──► connection ──► writer task ──► server
//!             ▲ again,     ▲ by number      
//!             │ elsewhere  └──────────────── reader task ◄── server
//! ```
//!
//! A call is sent again, with the same number, when its connection breaks or when nothing comes back in time: for
//! ever on a hard mount, a few times on a soft one. Whoever waits can be interrupted all the same.

mod client;
mod connection;
mod message;

pub(crate) use client::{Address, Caller, Patience, RpcClient};
pub(crate) use message::{Procedure, RpcError, pack, unpack};
