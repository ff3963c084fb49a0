//! Answers, ready to be sent.

use std::convert::Infallible;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::header::{CONTENT_TYPE, HeaderValue, WARNING};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde::Serialize;

use crate::error::ApiError;

/// The body of an answer: whole, or a stream that goes on while a watch or a log does.
pub(crate) type ReplyBody = UnsyncBoxBody<Bytes, Infallible>;
pub(crate) type Reply = Response<ReplyBody>;

const JSON: &str = "application/json";

pub(crate) fn whole(status: u16, content_type: &str, body: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        reply.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    reply
}

/// A JSON answer.
pub(crate) fn json(status: u16, value: &impl Serialize) -> Reply {
    json_as(status, JSON, value)
}

/// A JSON answer of a more particular content type.
pub(crate) fn json_as(status: u16, content_type: &str, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => whole(status, content_type, body),
        Err(error) => {
            refusal(&ApiError::new(500, "InternalError", format!("the answer could not be written: {error}")))
        }
    }
}

pub(crate) fn text(body: &str) -> Reply {
    whole(200, "text/plain", body.as_bytes().to_vec())
}

pub(crate) fn refusal(error: &ApiError) -> Reply {
    whole(error.code, JSON, error.to_status().to_string().into_bytes())
}

/// An answer that goes on.
pub(crate) fn stream(content_type: &str, chunks: impl Stream<Item = Bytes> + Send + 'static) -> Reply {
    let frames = chunks.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
    let mut reply = Response::new(StreamBody::new(frames).boxed_unsync());
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        reply.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    reply
}

/// Adds `Warning` headers, which clients show to their users.
pub(crate) fn warn(reply: &mut Reply, warnings: &[String]) {
    for warning in warnings {
        let text = warning
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace(|letter: char| letter.is_control(), " ");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            reply.headers_mut().append(WARNING, value);
        }
    }
}
