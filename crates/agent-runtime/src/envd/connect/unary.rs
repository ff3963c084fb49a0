//! Calls with one request and one answer.

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Call, Code, RpcError, frame, lenient};

/// Answers a unary call with `run`.
pub(crate) async fn unary<Q, A>(
    request: Request,
    run: impl AsyncFnOnce(Call, Q) -> Result<A, RpcError>,
) -> Response
where
    Q: DeserializeOwned,
    A: Serialize,
{
    if !is_content_type(request.headers(), "application/json") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    match answer(request, run).await {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn answer<Q, A>(
    request: Request,
    run: impl AsyncFnOnce(Call, Q) -> Result<A, RpcError>,
) -> Result<A, RpcError>
where
    Q: DeserializeOwned,
{
    check_encoding(request.headers(), CONTENT_ENCODING.as_str())?;
    let call = Call::from_headers(request.headers());
    let body = axum::body::to_bytes(request.into_body(), frame::LONGEST).await.map_err(|problem| {
        RpcError::new(Code::InvalidArgument, format!("cannot read the request: {problem}"))
    })?;
    let question = parse(&body)?;
    let Some(limit) = call.timeout else { return run(call, question).await };
    tokio::time::timeout(limit, run(call, question)).await.unwrap_or_else(|_| Err(late(limit)))
}

/// Whether the body is declared to be of the type `wanted`; parameters don't matter.
pub(crate) fn is_content_type(headers: &HeaderMap, wanted: &str) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().is_some_and(|declared| declared.trim().eq_ignore_ascii_case(wanted))
}

/// Refuses a body that the header `name` declares compressed.
pub(crate) fn check_encoding(headers: &HeaderMap, name: &str) -> Result<(), RpcError> {
    match headers.get(name).map(http::HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(()),
        Some(_) => Err(RpcError::new(Code::Unimplemented, "compressed requests are not accepted")),
    }
}

/// Reads a message.
pub(crate) fn parse<Q: DeserializeOwned>(text: &[u8]) -> Result<Q, RpcError> {
    lenient::message(text).map_err(|problem| {
        RpcError::new(Code::InvalidArgument, format!("cannot read the message: {problem}"))
    })
}

/// The error of a call whose limit has passed.
pub(crate) fn late(limit: std::time::Duration) -> RpcError {
    RpcError::new(Code::DeadlineExceeded, format!("the call's limit of {limit:?} has passed"))
}
