//! The service `process.Process` (`e2b-api.md` §11).
//!
//! ```text
//! Start ──► launch ──► process ──► stdout, stderr, terminal ──► Fanout ──┬─► the stream of Start
//!                         ▲                                              └─► any number of Connect streams
//!              SendInput, StreamInput, CloseStdin, SendSignal, Update
//! ```
//!
//! A process outlives the streams that watch it. It is the leader of a session of its own; signals, and the kill at
//! the end of the call's limit, reach its whole group.

mod control;
mod end;
mod fanout;
mod messages;
mod registry;
mod running;
mod spawn;
mod start;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::post;

pub(crate) use registry::Processes;

use self::messages::{Event, EventMessage, ListResponse};
use super::connect::{client_stream, server_stream, unary};
use super::state::SharedEnvd;

/// The routes of the service.
pub(crate) fn routes() -> Router<SharedEnvd> {
    Router::new()
        .route("/process.Process/List", post(list))
        .route("/process.Process/Start", post(start))
        .route("/process.Process/Connect", post(connect))
        .route("/process.Process/Update", post(update))
        .route("/process.Process/SendInput", post(send_input))
        .route("/process.Process/StreamInput", post(stream_input))
        .route("/process.Process/SendSignal", post(send_signal))
        .route("/process.Process/CloseStdin", post(close_stdin))
}

const KEEPALIVE: EventMessage = EventMessage { event: Event::Keepalive {} };

type Answer = axum::response::Response;

async fn list(State(envd): State<SharedEnvd>, request: Request) -> Answer {
    unary(request, async |_, _: messages::SelectRequest| {
        Ok(ListResponse { processes: envd.processes.list() })
    })
    .await
}

async fn start(State(envd): State<SharedEnvd>, request: Request) -> Answer {
    server_stream(request, KEEPALIVE, async |call, question| start::start(&envd, call, question).await).await
}

async fn connect(State(envd): State<SharedEnvd>, request: Request) -> Answer {
    server_stream(request, KEEPALIVE, async |_, question| start::connect(&envd, &question)).await
}

async fn update(State(envd): State<SharedEnvd>, request: Request) -> Answer {
    unary(request, async |_, question| control::update(&envd, &question)).await
}

async fn send_input(State(envd): State<SharedEnvd>, request: Request) -> Answer {
    unary(request, async |_, question| control::send_input(&envd, question).await).await
}

async fn stream_input(State(envd): State<SharedEnvd>, request: Request) -> Answer {
    client_stream(request, async |messages| control::stream_input(&envd, messages).await).await
}

async fn send_signal(State(envd): State<SharedEnvd>, request: Request) -> Answer {
    unary(request, async |_, question| control::send_signal(&envd, &question)).await
}

async fn close_stdin(State(envd): State<SharedEnvd>, request: Request) -> Answer {
    unary(request, async |_, question| control::close_stdin(&envd, &question).await).await
}
