//! A connection that the server can close while it carries a call.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::Connected;

/// Closes its connection; every call that came over the connection has it among its extensions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_cut: AtomicBool,
    reader: AtomicWaker,
}

impl Cut {
    /// Closes the connection, with whatever is under way on it.
    pub(crate) fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::Release);
        self.shared.reader.wake();
    }

    fn is_cut(&self) -> bool {
        self.shared.is_cut.load(Ordering::Acquire)
    }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct CuttableStream {
    inner: UnixStream,
    cut: Cut,
}

impl CuttableStream {
    pub(crate) fn new(inner: UnixStream) -> Self {
        Self { inner, cut: Cut::default() }
    }
}

impl Connected for CuttableStream {
    type ConnectInfo = Cut;

    fn connect_info(&self) -> Cut {
        self.cut.clone()
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cut.shared.reader.register(context.waker());
        if self.cut.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cut.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
