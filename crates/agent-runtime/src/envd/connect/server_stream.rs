//! Calls with a stream in one direction.

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::unary::{check_encoding, is_content_type, late, parse};
use super::{Call, Code, RpcError, frame};

const STREAM_TYPE: &str = "application/connect+json";

/// The answers of a server stream.
pub(crate) type Messages<A> = BoxStream<'static, Result<A, RpcError>>;

/// Answers a server-streaming call with the messages of `run`; `keepalive` is sent whenever nothing else was for the
/// interval that the client asked for. A limit of the call ends the stream with an error.
pub(crate) async fn server_stream<Q, A>(
    request: Request,
    keepalive: A,
    run: impl AsyncFnOnce(Call, Q) -> Result<Messages<A>, RpcError>,
) -> Response
where
    Q: DeserializeOwned,
    A: Clone + Send + Serialize + Sync + 'static,
{
    let call = Call::from_headers(request.headers());
    let deadline = call.timeout.and_then(|limit| Some((Instant::now().checked_add(limit)?, limit)));
    if let Err(refusal) = check_headers(request.headers()) {
        return refusal;
    }
    let interval = call.keepalive;
    let mut reader = frame::Reader::new(request.into_body());
    let started = match first(&mut reader).await {
        Ok(question) => run(call, question).await,
        Err(problem) => Err(problem),
    };
    match started {
        Ok(messages) => frames(encode(messages, keepalive, interval, deadline)),
        Err(problem) => frames(futures::stream::iter([frame::end(Err(&problem))])),
    }
}

/// The messages of a client stream.
pub(crate) struct Incoming {
    reader: frame::Reader,
}

impl Incoming {
    /// The next message; nothing at the end of the request.
    pub(crate) async fn next<Q: DeserializeOwned>(&mut self) -> Result<Option<Q>, RpcError> {
        self.reader.next().await?.map(|payload| parse(&payload)).transpose()
    }
}

/// Answers a client-streaming call with `run`, which reads the messages.
pub(crate) async fn client_stream<A: Serialize>(
    request: Request,
    run: impl AsyncFnOnce(Incoming) -> Result<A, RpcError>,
) -> Response {
    if let Err(refusal) = check_headers(request.headers()) {
        return refusal;
    }
    let limit = Call::from_headers(request.headers()).timeout;
    let work = run(Incoming { reader: frame::Reader::new(request.into_body()) });
    let outcome = match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late(limit))),
        None => work.await,
    };
    let all = match outcome {
        Ok(answer) => vec![frame::message(&answer), frame::end(Ok(()))],
        Err(problem) => vec![frame::end(Err(&problem))],
    };
    frames(futures::stream::iter(all))
}

#[allow(clippy::result_large_err, reason = "the answer is sent as it is")]
fn check_headers(headers: &HeaderMap) -> Result<(), Response> {
    if !is_content_type(headers, STREAM_TYPE) {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response());
    }
    check_encoding(headers, "connect-content-encoding")
        .map_err(|problem| frames(futures::stream::iter([frame::end(Err(&problem))])))
}

async fn first<Q: DeserializeOwned>(reader: &mut frame::Reader) -> Result<Q, RpcError> {
    match reader.next().await? {
        Some(payload) => parse(&payload),
        None => Err(RpcError::new(Code::InvalidArgument, "the request has no message")),
    }
}

fn frames(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let body = Body::from_stream(frames.map(Ok::<_, std::convert::Infallible>));
    ([(CONTENT_TYPE, STREAM_TYPE)], body).into_response()
}

/// The frames of `messages`, produced by a task of its own that ends when the client is gone.
fn encode<A>(
    mut messages: Messages<A>,
    keepalive: A,
    interval: std::time::Duration,
    deadline: Option<(Instant, std::time::Duration)>,
) -> impl Stream<Item = Bytes> + Send + 'static
where
    A: Send + Serialize + Sync + 'static,
{
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut idle = Instant::now() + interval;
        loop {
            let frame = tokio::select! {
                biased;
                () = sender.closed() => return,
                limit = passed(deadline) => break drop(sender.send(frame::end(Err(&late(limit)))).await),
                message = messages.next() => match message {
                    Some(Ok(message)) => frame::message(&message),
                    Some(Err(problem)) => break drop(sender.send(frame::end(Err(&problem))).await),
                    None => break drop(sender.send(frame::end(Ok(()))).await),
                },
                () = tokio::time::sleep_until(idle) => frame::message(&keepalive),
            };
            if sender.send(frame).await.is_err() {
                return;
            }
            idle = Instant::now() + interval;
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

async fn passed(deadline: Option<(Instant, std::time::Duration)>) -> std::time::Duration {
    match deadline {
        Some((instant, limit)) => {
            tokio::time::sleep_until(instant).await;
            limit
        }
        None => std::future::pending().await,
    }
}
