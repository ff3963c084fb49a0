//! The control plane (`e2b-api.md` §2 to §5): routes, and what every answer has in common.
//!
//! ```text
//! any request ──► front ──► gateway (another module)
//!                   └──► envelope: X-Request-ID, JSON errors, journal ──► routes ──► handlers
//! ```
//!
//! The `/kruise/api` prefix and a trailing slash are taken off before routing, so every route is written once.

pub(crate) mod body;
pub(crate) mod clone;
pub(crate) mod connect;
pub(crate) mod context;
pub(crate) mod create;
pub(crate) mod deadline_calls;
pub(crate) mod envelope;
pub(crate) mod key_calls;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod list_query;
pub(crate) mod metrics;
pub(crate) mod minor;
pub(crate) mod network;
pub(crate) mod pause;
pub(crate) mod percent;
pub(crate) mod settled;
pub(crate) mod snapshots;
pub(crate) mod templates;
pub(crate) mod view;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, delete, get, post, put};
use contract::errors::Code;
use contract::names::ENVD_PORT;

use crate::error::ApiError;
use crate::gateway::forward::Target;
use crate::gateway::recognise::{Destination, recognise};
use crate::gateway::severing::when_paused;
use crate::gateway::{admission, answers};
use crate::manager::Manager;

impl Manager {
    /// The service of one listener: the control plane, and the gateway to every sandbox's ports.
    pub fn router(&self) -> Router {
        let front = Front { manager: self.clone(), routes: routes(self.clone()) };
        Router::new().fallback(serve).with_state(front)
    }
}

#[derive(Clone)]
struct Front {
    manager: Manager,
    routes: Router,
}

/// Sends a request where it belongs (`e2b-api.md` §8.1).
async fn serve(State(front): State<Front>, request: Request) -> Response {
    match recognise(request.uri(), request.headers()) {
        Ok(Destination::ControlPlane { path, prefixed }) => {
            envelope::serve(&front.manager, front.routes, path, prefixed, request).await
        }
        Ok(Destination::Sandbox { id, port, path_and_query }) => {
            to_sandbox(&front.manager, &id, port, &path_and_query, request).await
        }
        Err(error) => envelope::refuse(&request, ApiError::bad_request(error.to_string())),
    }
}

async fn to_sandbox(
    manager: &Manager,
    id: &str,
    port: u16,
    path_and_query: &str,
    request: Request,
) -> Response {
    if let Err(error) = manager.ready().await {
        return envelope::refuse(&request, error);
    }
    match admission::admit(manager, id, port, request.headers()).await {
        Ok(address) => {
            let target = Target { id, address: &address, port, path_and_query };
            manager.shared.forwarder.forward(target, request, when_paused(manager, id)).await
        }
        Err(admission::Refusal::NotFound | admission::Refusal::NotReady) => answers::sandbox_not_found(id),
        Err(admission::Refusal::WrongToken) => {
            let message =
                format!("the access token of sandbox {id:?} is missing or wrong on port {ENVD_PORT}");
            envelope::refuse(&request, ApiError::new(Code::Unauthorized, message))
        }
    }
}

fn routes(manager: Manager) -> Router {
    let sandboxes = Router::new()
        .route("/sandboxes", post(create::create))
        .route("/v2/sandboxes", post(create::create).get(list::list))
        .route("/sandboxes/{id}", get(lifecycle::get).delete(lifecycle::kill))
        .route("/sandboxes/{id}/connect", post(connect::connect))
        .route("/v2/sandboxes/{id}/connect", post(connect::connect))
        .route("/sandboxes/{id}/resume", post(connect::resume))
        .route("/sandboxes/{id}/pause", post(pause::pause))
        .route("/sandboxes/{id}/timeout", post(deadline_calls::set_timeout))
        .route("/sandboxes/{id}/network", put(network::replace))
        .route("/sandboxes/{id}/metrics", get(metrics::metrics))
        .route("/sandboxes/{id}/snapshots", post(snapshots::create))
        .route("/sandboxes/{id}/fork", post(minor::sandbox_extra))
        .route("/sandboxes/{id}/refreshes", post(minor::sandbox_extra))
        .route("/sandboxes/{id}/logs", get(minor::sandbox_extra))
        .route("/v2/sandboxes/{id}/logs", get(minor::sandbox_extra));
    let others = Router::new()
        .route("/snapshots", get(snapshots::list))
        .route("/templates", get(templates::list).post(minor::builds))
        .route("/templates/{id}", get(templates::get).delete(templates::delete).post(minor::builds))
        .route("/templates/{id}/{*rest}", any(minor::builds))
        .route("/volumes", any(minor::volumes))
        .route("/volumes/{*rest}", any(minor::volumes))
        .route("/secrets", any(minor::secrets))
        .route("/secrets/{*rest}", any(minor::secrets))
        .route("/health", get(minor::health))
        .route("/metrics", get(minor::prometheus))
        .route("/debug", get(minor::debug));
    let mut routes = sandboxes.merge(others);
    if manager.shared.options.authentication {
        routes = routes
            .route("/teams", get(key_calls::teams))
            .route("/api-keys", get(key_calls::list).post(key_calls::create))
            .route("/api-keys/compatible", get(key_calls::compatible))
            .route("/api-keys/{id}", delete(key_calls::delete));
    }
    routes
        .route_layer(axum::middleware::from_fn(context::note_route))
        .fallback(context::no_such_route)
        .method_not_allowed_fallback(context::no_such_method)
        .with_state(manager)
}
