//! The service `filesystem.Filesystem` (`e2b-api.md` §12).
//!
//! Everything that touches a file runs beside the asynchronous tasks: a path may be on a mount that has hung.

mod entry;
mod inotify;
mod messages;
mod network;
mod operations;
mod watch;
mod watchers;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use futures::{StreamExt as _, stream};

pub(crate) use self::watchers::Watchers;

use self::messages::{
    CreateWatcherResponse, Empty, EventsResponse, ListDirRequest, MoveRequest, PathRequest, WatchMessage,
    WatchRequest, WatcherRequest,
};
use self::operations::View;
use self::watch::Watch;
use super::connect::{Call, Code, Messages, RpcError, server_stream, unary};
use super::rpc_problem::account_of;
use super::state::{Envd, SharedEnvd};

/// The routes of the service.
pub(crate) fn routes() -> Router<SharedEnvd> {
    Router::new()
        .route("/filesystem.Filesystem/Stat", post(stat))
        .route("/filesystem.Filesystem/MakeDir", post(make_dir))
        .route("/filesystem.Filesystem/Move", post(rename))
        .route("/filesystem.Filesystem/ListDir", post(list_dir))
        .route("/filesystem.Filesystem/Remove", post(remove))
        .route("/filesystem.Filesystem/WatchDir", post(watch_dir))
        .route("/filesystem.Filesystem/CreateWatcher", post(create_watcher))
        .route("/filesystem.Filesystem/GetWatcherEvents", post(get_watcher_events))
        .route("/filesystem.Filesystem/RemoveWatcher", post(remove_watcher))
}

/// Does `work` as the caller's user.
async fn with_view<T: Send + 'static>(
    envd: &Envd,
    call: &Call,
    work: impl FnOnce(&View) -> Result<T, RpcError> + Send + 'static,
) -> Result<T, RpcError> {
    let account = account_of(envd, call)?;
    let view = View { account, accounts: envd.accounts.clone(), workdir: envd.workdir() };
    let joined = tokio::task::spawn_blocking(move || work(&view)).await;
    joined.unwrap_or_else(|problem| Err(RpcError::new(Code::Internal, problem.to_string())))
}

async fn stat(State(envd): State<SharedEnvd>, request: Request) -> Response {
    unary(request, async |call, question: PathRequest| {
        with_view(&envd, &call, move |view| view.stat(&question.path)).await
    })
    .await
}

async fn make_dir(State(envd): State<SharedEnvd>, request: Request) -> Response {
    unary(request, async |call, question: PathRequest| {
        with_view(&envd, &call, move |view| view.make_dir(&question.path)).await
    })
    .await
}

async fn rename(State(envd): State<SharedEnvd>, request: Request) -> Response {
    unary(request, async |call, question: MoveRequest| {
        with_view(&envd, &call, move |view| view.rename(&question)).await
    })
    .await
}

async fn list_dir(State(envd): State<SharedEnvd>, request: Request) -> Response {
    unary(request, async |call, question: ListDirRequest| {
        with_view(&envd, &call, move |view| view.list_dir(&question)).await
    })
    .await
}

async fn remove(State(envd): State<SharedEnvd>, request: Request) -> Response {
    unary(request, async |call, question: PathRequest| {
        with_view(&envd, &call, move |view| view.remove(&question.path)).await.map(|()| Empty {})
    })
    .await
}

async fn watch_dir(State(envd): State<SharedEnvd>, request: Request) -> Response {
    server_stream(request, WatchMessage::Keepalive {}, async |call, question: WatchRequest| {
        open(&envd, &call, question).await.map(messages)
    })
    .await
}

async fn open(envd: &Envd, call: &Call, request: WatchRequest) -> Result<Watch, RpcError> {
    with_view(envd, call, move |view| Watch::open(view, &request)).await
}

fn messages(watch: Watch) -> Messages<WatchMessage> {
    let events = stream::try_unfold(watch, async |mut watch| {
        let events = watch.next().await?;
        Ok(Some((
            stream::iter(events.into_iter().map(|event| Ok(WatchMessage::Filesystem(Box::new(event))))),
            watch,
        )))
    });
    let flat = events.flat_map(|batch| match batch {
        Ok(events) => events.boxed(),
        Err(problem) => stream::iter([Err(problem)]).boxed(),
    });
    stream::iter([Ok(WatchMessage::Start {})]).chain(flat).boxed()
}

async fn create_watcher(State(envd): State<SharedEnvd>, request: Request) -> Response {
    unary(request, async |call, question: WatchRequest| {
        let watch = open(&envd, &call, question).await?;
        Ok(CreateWatcherResponse { watcher_id: envd.watchers.add(watch) })
    })
    .await
}

async fn get_watcher_events(State(envd): State<SharedEnvd>, request: Request) -> Response {
    unary(request, async |_, question: WatcherRequest| {
        envd.watchers.drain(&question.watcher_id).map(|events| EventsResponse { events })
    })
    .await
}

async fn remove_watcher(State(envd): State<SharedEnvd>, request: Request) -> Response {
    unary(request, async |_, question: WatcherRequest| {
        envd.watchers.remove(&question.watcher_id).map(|()| Empty {})
    })
    .await
}
