//! NFS exports of scenarios' own, at a server that others use too.
//!
//! ```text
//! at_exports ─► exports  which paths are the lab's, by their names on the server; removal at the end
//!                  └► files  what is done to files, with the words of the embedded lab
//!                       └► session  NFSv3 calls, by a client that isn't the sandboxes'
//! ```

mod exports;
mod files;
mod session;
#[cfg(test)]
mod tests;

pub(crate) use exports::Exports;
pub use session::{NfsError, offered_paths};
