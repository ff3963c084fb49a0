//! The answers that the gateway gives itself (`e2b-api.md` §8.3).
//!
//! The SDKs search `message` for `was not found` and `port is not open` to tell a sandbox that is gone from one whose
//! port is closed, so these texts are part of the contract.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

/// 502 for an id that is unknown, killed, paused, or not ready for too long.
pub(crate) fn sandbox_not_found(id: &str) -> Response {
    bad_gateway(json!({"sandboxId": id, "message": "The sandbox was not found", "code": 502}))
}

/// 502 for a running sandbox in which nothing listens on the port.
pub(crate) fn port_not_open(id: &str, port: u16) -> Response {
    let message = "The sandbox is running but port is not open";
    bad_gateway(json!({"sandboxId": id, "message": message, "port": port, "code": 502}))
}

/// 502 for a connection that broke before the answer began; the SDKs read it as "state unknown".
pub(crate) fn connection_lost(id: &str, port: u16) -> Response {
    let message = "The connection to the sandbox was lost before it answered";
    bad_gateway(json!({"sandboxId": id, "message": message, "port": port, "code": 502}))
}

fn bad_gateway(body: serde_json::Value) -> Response {
    let mut response = (StatusCode::BAD_GATEWAY, Json(body)).into_response();
    response.headers_mut().insert("should-retry", http::HeaderValue::from_static("false"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn shown(response: Response) -> String {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 4096).await.expect("a short body");
        format!("{} {:?} {}", parts.status, parts.headers.get("content-type"), String::from_utf8_lossy(&body))
    }

    #[tokio::test]
    async fn bodies_are_exact() {
        insta::assert_snapshot!(shown(sandbox_not_found("a--b")).await);
        insta::assert_snapshot!(shown(port_not_open("a--b", 8080)).await);
        insta::assert_snapshot!(shown(connection_lost("a--b", 8080)).await);
    }
}
