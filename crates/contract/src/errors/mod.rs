//! The one error table: every stable code with its HTTP status, exit status, explanation and remedy.
//!
//! A [`Problem`] is a code, a sentence for the user and the object it is about. It never contains a secret value:
//! whoever builds one names keys, paths and objects only (`storage.md` §10). `docs/errors.md` is generated from the
//! table by [`document()`].

mod code;
mod document;
mod problem;

pub use code::Code;
pub use document::document;
pub use problem::Problem;
