//! Calls that outlive connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Broken, Connection};
use super::message::{Frame, Procedure, RpcError, results};
use crate::fuse::Interrupt;

/// How long one attempt to connect may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Pause after the first attempt that failed, which then doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long an answer is still waited for after a signal. A server that works answers within it, and then a signal
/// that doesn't end the process does no harm; one that is gone keeps nobody for longer.
const GRACE: Duration = Duration::from_secs(1);

/// Where a server is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    /// Name or number; a number of version 6 may stand in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// After this time a call is sent again.
    pub(crate) timeout: Duration,
    /// How many times, before a soft mount gives up.
    pub(crate) retries: u32,
    /// Whether it gives up at all.
    pub(crate) soft: bool,
}

/// For whom a call is made.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// Told when whoever waits gets a signal; nothing where nobody waits.
    pub(crate) interrupt: Option<Arc<Interrupt>>,
}

impl Caller {
    /// The agent itself.
    pub(crate) const ROOT: Self = Self { user: 0, group: 0, interrupt: None };

    /// The same user with nobody who waits.
    pub(crate) fn in_background(&self) -> Self {
        Self { interrupt: None, ..*self }
    }

    /// Waits for `work`, which is being done elsewhere, but not for long after a signal.
    ///
    /// # Errors
    /// When there was a signal.
    pub(crate) async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, RpcError> {
        let interrupted = async {
            match &self.interrupt {
                Some(interrupt) => {
                    interrupt.raised().await;
                    sleep(GRACE).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            value = work => Ok(value),
            () = interrupted => Err(RpcError::Interrupted),
        }
    }
}

/// A server.
#[derive(Debug)]
pub(crate) struct RpcClient {
    address: Address,
    patience: Patience,
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
    next: AtomicU32,
    /// How many connections there have been.
    connections: AtomicU64,
    ended: watch::Sender<bool>,
    silent: AtomicBool,
}

impl RpcClient {
    /// The server at `address`. It is connected to when it is first called.
    pub(crate) fn new(address: Address, patience: Patience) -> Self {
        // Numbers must differ from those of an earlier mount, whose answers a server may remember.
        let first = uuid_number();
        Self {
            address,
            patience,
            connection: tokio::sync::Mutex::default(),
            next: AtomicU32::new(first),
            connections: AtomicU64::new(0),
            ended: watch::Sender::new(false),
            silent: AtomicBool::new(false),
        }
    }

    /// How many connections there have been: a server that restarts costs one.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Fails every call, now and later.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Calls `procedure` for `caller` and answers its results. `data` follows the arguments.
    ///
    /// # Errors
    /// When it is refused, given up, interrupted or ended.
    pub(crate) async fn call(
        &self,
        caller: &Caller,
        procedure: Procedure,
        arguments: &[u8],
        data: Option<Bytes>,
    ) -> Result<Bytes, RpcError> {
        let xid = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = Frame::new(xid, procedure, (caller.user, caller.group), arguments, data)?;
        let mut ended = self.ended.subscribe();
        tokio::select! {
            biased;
            record = caller.wait(self.patiently(xid, &frame)) => results(record??),
            _ = ended.wait_for(|ended| *ended) => Err(RpcError::Ended),
        }
    }

    async fn patiently(&self, xid: u32, frame: &Frame) -> Result<Bytes, RpcError> {
        if !self.patience.soft {
            return Ok(self.until_answered(xid, frame).await);
        }
        let limit = self.patience.timeout * self.patience.retries.saturating_add(1);
        if let Ok(record) = timeout(limit, self.until_answered(xid, frame)).await {
            return Ok(record);
        }
        self.lament("does not answer");
        Err(RpcError::TimedOut)
    }

    async fn until_answered(&self, xid: u32, frame: &Frame) -> Bytes {
        loop {
            let connection = self.connected().await;
            let begun = Instant::now();
            match timeout(self.patience.timeout, connection.exchange(xid, frame.clone())).await {
                Ok(Ok(record)) => {
                    if self.silent.swap(false, Ordering::Relaxed) {
                        tracing::info!(server = %self.address.host, "the NFS server answers again");
                    }
                    return record;
                }
                Ok(Err(Broken)) => {
                    self.lament("closed the connection");
                    if begun.elapsed() < FIRST_PAUSE {
                        sleep(FIRST_PAUSE).await;
                    }
                }
                Err(_) => {
                    self.lament("does not answer");
                    // If it answers others, the call goes out again over the same connection.
                    if connection.silence() >= self.patience.timeout {
                        self.forget(&connection).await;
                    }
                }
            }
        }
    }

    async fn connected(&self) -> Arc<Connection> {
        let mut pause = FIRST_PAUSE;
        loop {
            {
                let mut slot = self.connection.lock().await;
                if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_broken()) {
                    return Arc::clone(connection);
                }
                *slot = None;
                match Connection::open(&self.address.host, self.address.port, CONNECT_LIMIT).await {
                    Ok(connection) => {
                        self.connections.fetch_add(1, Ordering::SeqCst);
                        return Arc::clone(slot.insert(Arc::new(connection)));
                    }
                    Err(error) => self.lament(&error.to_string()),
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn forget(&self, broken: &Arc<Connection>) {
        let mut slot = self.connection.lock().await;
        if slot.as_ref().is_some_and(|connection| Arc::ptr_eq(connection, broken)) {
            *slot = None;
        }
    }

    /// Tells the log, once until it answers again.
    fn lament(&self, what: &str) {
        if !self.silent.swap(true, Ordering::Relaxed) {
            tracing::warn!(server = %self.address.host, port = self.address.port, what, "NFS server not responding");
        }
    }
}

fn uuid_number() -> u32 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let random = RandomState::new().build_hasher().finish();
    u32::try_from(random >> 32).unwrap_or_default()
}
