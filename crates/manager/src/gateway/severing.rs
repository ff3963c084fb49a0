//! Connections to a sandbox end when it is paused (`e2b-api.md` §4.7), whether its pod goes or is kept asleep.

use std::pin::Pin;
use std::task::{Context, Poll};

use contract::crd::SandboxPhase;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use crate::manager::Manager;
use crate::sandboxes;

/// Completes when the sandbox is paused.
pub(crate) type Severed = BoxFuture<'static, ()>;

/// Completes when sandbox `id` is paused; never if it ends, for its connections end with it.
pub(crate) fn when_paused(manager: &Manager, id: &str) -> Severed {
    let (manager, id) = (manager.clone(), id.to_owned());
    async move {
        let is_paused = || {
            let sandbox = manager.sandbox(&id)?;
            (*sandboxes::phase(&sandbox) == SandboxPhase::Paused).then_some(())
        };
        manager.shared.sandboxes.until(is_paused).await;
    }
    .boxed()
}

/// The rest of an answer was not sent: the sandbox was paused.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox was paused")]
pub(crate) struct Paused;

/// An answer's body that breaks off when the sandbox is paused.
pub(crate) struct Severable {
    body: Incoming,
    severed: Severed,
}

impl Severable {
    pub(crate) fn new(body: Incoming, severed: Severed) -> Self {
        Self { body, severed }
    }
}

impl Body for Severable {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        match self.severed.poll_unpin(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Box::new(Paused)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
