//! Listeners: open while the server is there, shut while it is gone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lab::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fault::Faults;
use crate::server::Inner;
use crate::service::{IDLE, Service};

/// How long to wait after a connection could not be accepted.
const RETRY: Duration = Duration::from_millis(50);

/// All doors of a server.
#[derive(Debug)]
pub(crate) struct Doors {
    gone: watch::Receiver<bool>,
    counts: watch::Sender<Counts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    all: usize,
    shut: usize,
}

impl Doors {
    pub(crate) fn new(faults: &Faults) -> Self {
        Self { gone: faults.gone(), counts: watch::Sender::new(Counts::default()) }
    }

    /// Returns once every door is shut or open as it should be by the time of the call.
    pub(crate) async fn settled(&self) {
        let gone = *self.gone.borrow();
        let mut counts = self.counts.subscribe();
        // The sender is a member: it lives as long as this waits.
        let _ = counts.wait_for(|counts| counts.shut == if gone { counts.all } else { 0 }).await;
    }
}

/// A listener of the server.
pub(crate) struct Door {
    listener: Listener,
    service: Service,
    tasks: TaskTracker,
    stop: CancellationToken,
    gone: watch::Receiver<bool>,
    counts: watch::Sender<Counts>,
    is_shut: bool,
}

impl Door {
    pub(crate) fn new(listener: Listener, server: &Arc<Inner>) -> Self {
        let counts = server.doors.counts.clone();
        counts.send_modify(|counts| counts.all += 1);
        Self {
            listener,
            service: server.service.clone(),
            tasks: server.tasks.clone(),
            stop: server.stop.clone(),
            gone: server.doors.gone.clone(),
            counts,
            is_shut: false,
        }
    }

    /// Lets connections in while the server is there.
    pub(crate) async fn keep(mut self) {
        if let Err(error) = self.work().await {
            tracing::error!(%error, address = %self.listener.address(), "a listener is lost");
        }
    }

    async fn work(&mut self) -> io::Result<()> {
        let mut gone = self.gone.clone();
        loop {
            let listener = TcpListener::from_std(self.listener.handle()?)?;
            let open = self.stop.child_token();
            tokio::select! {
                () = self.accept(&listener, &open) => {}
                away = gone.wait_for(|gone| *gone) => if away.is_err() { return Ok(()) },
            }
            drop(listener);
            self.listener.close()?;
            open.cancel();
            self.tell(true);
            if gone.wait_for(|gone| !*gone).await.is_err() {
                return Ok(());
            }
            self.listener.open()?;
            self.tell(false);
        }
    }

    fn tell(&mut self, is_shut: bool) {
        if std::mem::replace(&mut self.is_shut, is_shut) != is_shut {
            self.counts.send_modify(|counts| {
                counts.shut = counts.shut.saturating_add_signed(if is_shut { 1 } else { -1 });
            });
        }
    }

    async fn accept(&self, listener: &TcpListener, open: &CancellationToken) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let talk = converse(self.service.clone(), stream);
                    self.tasks.spawn(open.clone().run_until_cancelled_owned(talk));
                }
                // such as a connection that was reset at once, or no free file descriptor: others may do better
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.tell(false);
        self.counts.send_modify(|counts| counts.all = counts.all.saturating_sub(1));
    }
}

/// Answers the requests of one connection.
async fn converse(service: Service, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection without TCP_NODELAY");
    }
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { service.call(request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(1024 * 1024)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended early");
    }
}
