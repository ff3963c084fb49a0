//! The Connect protocol, as far as the SDKs speak it: the JSON codec, without compression (`e2b-api.md` §10).
//!
//! ```text
//! unary          one JSON document            ─►  one JSON document, or an HTTP status with {"code", "message"}
//! server stream  one frame                    ─►  frames, then an end frame; status 200
//! client stream  frames until the body's end  ─►  one frame, then an end frame; status 200
//! ```

mod call;
mod error;
mod frame;
mod lenient;
mod server_stream;
mod unary;

pub(crate) use call::Call;
pub(crate) use error::{Code, RpcError};
pub(crate) use lenient::{bytes_base64, enumeration, number, optional_number};
pub(crate) use server_stream::{Incoming, Messages, client_stream, server_stream};
pub(crate) use unary::unary;
