//! What a handler leaves unread of a request.
//!
//! An HTTP/1.1 server closes a connection whose request was not read to its end, and a client that uses the connection
//! again at that moment loses its next call. Streams of the SDKs come in chunks, so the end of a body often arrives
//! after its only message was answered.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::EXPECT;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;

/// The longest rest that is read, in bytes. Beyond it a new connection costs less.
const LONGEST: u64 = 256 << 10;

/// Lets handlers leave a request's body unread without an end of the connection.
pub(crate) async fn read_to_the_end(request: Request, next: Next) -> Response {
    // Reading would ask a client that waits for leave to send what nobody wants.
    if request.headers().contains_key(EXPECT) {
        return next.run(request).await;
    }
    next.run(request.map(|body| Body::new(Whole(body)))).await
}

/// A body whose rest is read when it is dropped.
struct Whole(Body);

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if self.0.is_end_stream() || self.0.size_hint().lower() > LONGEST {
            return;
        }
        // Without a runtime there is no connection either.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(rest(std::mem::take(&mut self.0)));
        }
    }
}

/// Reads until the end, the limit, or the end of the connection.
async fn rest(mut body: Body) {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, |data| data.len() as u64);
        if length > LONGEST {
            return;
        }
    }
}
