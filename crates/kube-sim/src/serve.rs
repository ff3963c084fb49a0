//! Serving over HTTPS, for clients outside of the process.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::api::token;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::http::path::{self, Target};
use crate::http::reply::{self, ReplyBody};
use crate::identity::IdentityError;
use crate::server::Server;

/// The largest body of a request, as the API server limits it.
pub(crate) const LARGEST_BODY: usize = 3 * 1024 * 1024;
/// A client has this long to finish its TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// A connection may be idle this long between requests.
const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The server has no identity to show.
    #[error("the API server can't serve over HTTPS")]
    Identity(#[source] IdentityError),
    /// The listener gave up.
    #[error("the API server's listener failed")]
    Accept(#[source] io::Error),
}

/// Serves until the future is dropped; every connection ends with it.
pub(crate) async fn serve_https(server: Arc<Server>, listener: TcpListener) -> Result<(), ServeError> {
    let acceptor = TlsAcceptor::from(server.identity.tls().map_err(ServeError::Identity)?);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, peer) = accepted.map_err(ServeError::Accept)?;
                let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
                connections.spawn(async move {
                    if let Err(error) = connection(server, acceptor, socket).await {
                        tracing::debug!(%peer, error, "a connection to the API server ended");
                    }
                });
            }
            // Finished connections are taken off the list.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(
    server: Arc<Server>,
    acceptor: TlsAcceptor,
    socket: TcpStream,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    socket.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(socket)).await??;
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(guarded(&server, request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await?;
    Ok(())
}

/// Answers only who holds the token or one of a service account; health and version are open.
async fn guarded(server: &Server, request: Request<Incoming>) -> Response<ReplyBody> {
    let open = matches!(path::parse(request.uri().path()), Some(Target::Health | Target::Version));
    let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let caller = authorization.and_then(|value| {
        if server.identity.accepts(value) {
            Some(Caller::administrator())
        } else {
            token::authenticate(server, value)
        }
    });
    if !open && caller.is_none() {
        return reply::refusal(&ApiError::unauthorized());
    }
    let (mut head, body) = request.into_parts();
    if let Some(caller) = caller {
        head.extensions.insert(caller);
    }
    match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => crate::http::answer(server, head, body.to_bytes()).await,
        Err(error) => reply::refusal(&unreadable(&*error)),
    }
}

/// A body that did not arrive, or was too large.
fn unreadable(error: &(dyn std::error::Error + 'static)) -> ApiError {
    if error.is::<http_body_util::LengthLimitError>() {
        let message = format!("request entity too large: limit is {LARGEST_BODY}");
        return ApiError::new(413, "RequestEntityTooLarge", message);
    }
    ApiError::bad_request(format!("the body of the request did not arrive: {error}"))
}

/// Answers a request from inside the process, where nobody has to prove anything.
pub(crate) async fn inside<B>(
    server: Arc<Server>,
    caller: Caller,
    request: Request<B>,
) -> Result<Response<ReplyBody>, B::Error>
where
    B: http_body::Body<Data = Bytes>,
{
    let (mut head, body) = request.into_parts();
    head.extensions.insert(caller);
    let body = body.collect().await?.to_bytes();
    Ok(crate::http::answer(&server, head, body).await)
}
