//! `POST /v1/storage/mounts` and our own `POST /v1/storage/unmounts` (`e2b-api.md` §13, `storage.md` §3.4).
//!
//! | Outcome | Status | Body |
//! |---|---|---|
//! | done | 200 | `success: true`, `mountPath` (mounts only) |
//! | failed for good | 200 | `success: false`, `message`, `code` |
//! | body or driver not understood | 400 | the same |
//! | wrong token | 401 | `code`, `message`, `error` |
//! | the driver's socket broke off | 503 | `success: false`, … : worth another try |
//!
//! `code` is gRPC's name of the failure. `DeadlineExceeded` means that the driver was silent for the whole limit of a
//! call; it is not worth another try.
//!
//! Unmounting takes `{"driver": …, "unpublishRequest": {"volumeId": …, "targetPath": …}}`, where the path is the
//! user's. It is for rolling back one mount when another one of the same claim has failed, for recycling, and, with
//! `"keepLink": true`, for a pause that keeps the processes: the link then stays and leads nowhere.
//!
//! Work that has begun is finished even when the caller goes away, so that no half-made mount is left.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use contract::names::{STORAGE_API_PATH, STORAGE_UNMOUNT_API_PATH};
use csi_api::NodeUnpublishVolumeRequest;
use http::StatusCode;
use serde_json::{Value, json};

use super::state::SharedEnvd;
use crate::announcement::announce;
use crate::storage::{MountOrder, Problem, Reason, UnmountOrder};

/// The routes of the storage.
pub(crate) fn routes() -> Router<SharedEnvd> {
    Router::new().route(STORAGE_API_PATH, post(mount)).route(STORAGE_UNMOUNT_API_PATH, post(unmount))
}

async fn mount(State(envd): State<SharedEnvd>, body: Bytes) -> Response {
    let order = match mount_order(&body) {
        Ok(order) => order,
        Err(problem) => return failure(&problem),
    };
    let told = (order.driver.clone(), order.request.target_path.clone());
    let work = async move {
        let outcome = envd.storage.clone().mount(order).await;
        let code = outcome.as_ref().err().map_or("Ok".to_owned(), Problem::code);
        let body = json!({ "driver": told.0, "code": code, "staging": outcome.as_ref().ok() });
        announce(if outcome.is_ok() { "mounted" } else { "mount-failed" }, &told.1, body);
        outcome
    };
    match tokio::spawn(work).await {
        Ok(Ok(staging)) => axum::Json(json!({ "success": true, "mountPath": staging })).into_response(),
        Ok(Err(problem)) => failure(&problem),
        Err(problem) => failure(&Problem::internal(problem.to_string())),
    }
}

async fn unmount(State(envd): State<SharedEnvd>, body: Bytes) -> Response {
    let order = match unmount_order(&body) {
        Ok(order) => order,
        Err(problem) => return failure(&problem),
    };
    let path = order.request.target_path.clone();
    let mut told = json!({ "driver": order.driver });
    if order.keep_link {
        // which call at the driver was for a pause
        told["keptLinkOf"] = order.request.volume_id.clone().into();
    }
    let work = async move {
        let outcome = envd.storage.clone().unmount(order).await;
        told["code"] = outcome.as_ref().err().map_or("Ok".to_owned(), Problem::code).into();
        announce("unmounted", &path, told);
        outcome
    };
    match tokio::spawn(work).await {
        Ok(Ok(())) => axum::Json(json!({ "success": true })).into_response(),
        Ok(Err(problem)) => failure(&problem),
        Err(problem) => failure(&Problem::internal(problem.to_string())),
    }
}

fn failure(problem: &Problem) -> Response {
    let status = match problem.reason() {
        Reason::BadRequest => StatusCode::BAD_REQUEST,
        Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Reason::DeadlineExceeded | Reason::Failed(_) => StatusCode::OK,
    };
    let body = json!({ "success": false, "message": problem.to_string(), "code": problem.code() });
    (status, axum::Json(body)).into_response()
}

/// Reads a body without ever quoting it: it holds secrets.
fn parts(body: &[u8], request: &str) -> Result<(String, Value), Problem> {
    let mut body: Value = serde_json::from_slice(body).map_err(|problem| {
        Problem::bad_request(format!("the body is no JSON: see column {}", problem.column()))
    })?;
    let Some(driver) = body.get("driver").and_then(Value::as_str).filter(|driver| !driver.is_empty()) else {
        return Err(Problem::bad_request("the driver is required"));
    };
    let driver = driver.to_owned();
    let request = body.get_mut(request).map(Value::take).unwrap_or_default();
    Ok((driver, request))
}

fn mount_order(body: &[u8]) -> Result<MountOrder, Problem> {
    let (driver, request) = parts(body, "publishRequest")?;
    if request.is_null() {
        return Err(Problem::bad_request("csi publish request is required"));
    }
    let request =
        contract::publish::from_json(&request).map_err(|problem| Problem::bad_request(problem.message()))?;
    Ok(MountOrder { driver, request })
}

fn unmount_order(body: &[u8]) -> Result<UnmountOrder, Problem> {
    let (driver, request) = parts(body, "unpublishRequest")?;
    let keep_link = serde_json::from_slice::<Value>(body).is_ok_and(|body| body["keepLink"] == true);
    let text = |name: &str, other: &str| {
        let value = request.get(name).or_else(|| request.get(other));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let request = NodeUnpublishVolumeRequest {
        volume_id: text("volumeId", "volume_id"),
        target_path: text("targetPath", "target_path"),
    };
    Ok(UnmountOrder { driver, request, keep_link })
}
