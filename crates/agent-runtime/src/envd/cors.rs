//! Pages of any origin may call envd; what protects it is the access token.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
};
use http::{HeaderValue, Method, StatusCode};

/// Answers preflights, and opens every other answer to every origin.
pub(crate) async fn allow_everything(request: Request, next: Next) -> Response {
    let headers = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let method = request.headers().get(ACCESS_CONTROL_REQUEST_METHOD).cloned();
    let preflight = request.method() == Method::OPTIONS && method.is_some();
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let answer = response.headers_mut();
    let any = HeaderValue::from_static("*");
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, any.clone());
    answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, any.clone());
    if preflight {
        // An echo, because the asterisk doesn't cover `Authorization`.
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers.unwrap_or(any));
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, method.unwrap_or(HeaderValue::from_static("*")));
    }
    response
}
