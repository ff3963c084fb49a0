//! The publish request as canonical protobuf JSON (`storage.md` §3.5), as the storage API carries it.
//!
//! [`to_json`] writes what Go's protojson writes: lowerCamelCase names, enum by name, defaults left out, an empty
//! `mount` message as `{}`. [`from_json`] also reads the original `snake_case` names and enum numbers, and refuses
//! unknown fields, so that a misspelt `secrets` can't vanish. No error quotes a value.

mod decode;
mod encode;

pub use decode::from_json;
pub use encode::to_json;
