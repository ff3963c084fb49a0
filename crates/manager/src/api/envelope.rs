//! What every answer of the control plane has in common (`e2b-api.md` §2.3, §2.4): the request's id, errors as JSON
//! whose `code` equals the status, `Should-Retry: false` where the Python SDK would resend by itself, and a line in
//! the journal.

use std::sync::PoisonError;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use http::{HeaderValue, Method, StatusCode, Uri};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::context::{Context, REQUEST_ID, request_id};
use crate::error::ApiError;
use crate::manager::Manager;

/// Statuses that the Python SDK sends again up to three times unless told not to (§2.5).
const RESENT: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// Routes a control-plane request and dresses its answer.
pub(crate) async fn serve(
    manager: &Manager,
    routes: Router,
    path: String,
    prefixed: bool,
    mut request: Request,
) -> Response {
    let context = Context::new(request.uri(), request.headers(), prefixed);
    let mut line = Line::new(manager, request.method().clone(), path.clone(), context.clone());
    match routed_uri(&path, request.uri()) {
        Ok(uri) => *request.uri_mut() = uri,
        Err(error) => return dress(&context.request_id, error.into_response()).0,
    }
    request.extensions_mut().insert(context.clone());
    let response = match routes.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (response, error) = dress(&context.request_id, response);
    line.answered(response.status(), error.as_ref());
    response
}

/// The answer to a request that got no further than the front door.
pub(crate) fn refuse(request: &Request, error: ApiError) -> Response {
    dress(&request_id(request.headers()), error.into_response()).0
}

fn routed_uri(path: &str, original: &Uri) -> Result<Uri, ApiError> {
    let text = match original.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    text.parse().map_err(|_| ApiError::bad_request("the request's path cannot be read"))
}

fn dress(request_id: &str, mut response: Response) -> (Response, Option<ApiError>) {
    let error = response.extensions_mut().remove::<ApiError>();
    if let Some(error) = &error {
        response = (error.status, Json(error_body(error, request_id))).into_response();
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if RESENT.contains(&response.status()) {
        response.headers_mut().insert("should-retry", HeaderValue::from_static("false"));
    }
    (response, error)
}

fn error_body(error: &ApiError, request_id: &str) -> Value {
    json!({
        "code": error.status.as_u16(),
        "message": error.message,
        "error_code": error.code.as_str(),
        "headers": null,
        "request_id": request_id,
    })
}

/// The journal's line about one request. A caller who goes away before the answer leaves one too.
struct Line {
    manager: Manager,
    method: Method,
    path: String,
    context: Context,
    started: Instant,
    written: bool,
}

impl Line {
    fn new(manager: &Manager, method: Method, path: String, context: Context) -> Self {
        Self { manager: manager.clone(), method, path, context, started: Instant::now(), written: false }
    }

    fn answered(&mut self, status: StatusCode, error: Option<&ApiError>) {
        let mut body = Map::new();
        body.insert("status".to_owned(), status.as_u16().into());
        if let Some(error) = error {
            body.insert("code".to_owned(), error.code.as_str().into());
            body.insert("message".to_owned(), error.message.clone().into());
        }
        self.manager.shared.options.metrics.answered(status);
        self.write(body);
    }

    fn write(&mut self, mut body: Map<String, Value>) {
        self.written = true;
        let milliseconds = self.started.elapsed().as_secs_f64() * 1000.0;
        body.insert("milliseconds".to_owned(), json!((milliseconds * 100.0).round() / 100.0));
        let route = self.context.route.get().unwrap_or(&self.path);
        let subject = self.context.subject.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let subject = subject.unwrap_or_else(|| self.path.clone());
        self.manager.record(&format!("{} {route}", self.method), &subject, Value::Object(body));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.written {
            self.write(Map::from_iter([("abandoned".to_owned(), Value::Bool(true))]));
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use contract::errors::Code;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Code::InvalidParameter, false)]
    #[case(Code::Unauthorized, false)]
    #[case(Code::SandboxNotFound, false)]
    #[case(Code::TooManyRequests, true)]
    #[case(Code::Internal, false)]
    #[case(Code::NotSupported, false)]
    #[case(Code::ClusterUnavailable, true)]
    #[case(Code::MountTimedOut, true)]
    #[tokio::test]
    async fn errors_are_json_whose_code_is_the_status(#[case] code: Code, #[case] forbids_resending: bool) {
        let (response, _) = dress("abc", ApiError::new(code, "what happened").into_response());
        let status = response.status().as_u16();
        assert_eq!(status, code.http_status());
        assert_eq!(response.headers()["x-request-id"], "abc");
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers().get("should-retry").is_some(), forbids_resending);
        let body = to_bytes(response.into_body(), 4096).await.expect("short");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let expected = json!({
            "code": status, "message": "what happened", "error_code": code.as_str(),
            "headers": null, "request_id": "abc",
        });
        assert_eq!(body, expected);
    }
}
