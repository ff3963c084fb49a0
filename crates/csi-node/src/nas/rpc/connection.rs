//! One TCP connection with any number of calls under way.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::message::{Frame, number};

/// Longest record that is taken from a server, in bytes.
const LONGEST_RECORD: usize = 16 << 20;
/// Bytes that are read ahead of a record.
const READ_BUFFER: usize = 16 << 10;

/// The connection broke before the answer came.
#[derive(Debug)]
pub(super) struct Broken;

#[derive(Debug)]
struct Waiting {
    /// Calls by number; nothing when the connection has ended.
    calls: Mutex<Option<HashMap<u32, oneshot::Sender<Bytes>>>>,
    /// When something came last.
    heard: Mutex<Instant>,
}

impl Waiting {
    fn with<T>(&self, work: impl FnOnce(&mut Option<HashMap<u32, oneshot::Sender<Bytes>>>) -> T) -> T {
        work(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answered(&self, record: Bytes) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let call = number(&record).and_then(|xid| self.with(|calls| calls.as_mut()?.remove(&xid)));
        // Nobody may wait any more, or a call that was sent twice was answered twice.
        if let Some(call) = call {
            let _ = call.send(record);
        }
    }
}

/// Takes a call off the list when nobody waits for it any more.
struct Listed<'a> {
    waiting: &'a Waiting,
    xid: u32,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.waiting.with(|calls| calls.as_mut().and_then(|calls| calls.remove(&self.xid)));
    }
}

/// A connection; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    outgoing: mpsc::UnboundedSender<Frame>,
    waiting: Arc<Waiting>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Connection {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens, or not within `limit`.
    pub(super) async fn open(host: &str, port: u16, limit: Duration) -> io::Result<Self> {
        let connecting = TcpStream::connect((host.trim_matches(['[', ']']), port));
        let silent =
            || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?} to connecting"));
        let stream = tokio::time::timeout(limit, connecting).await.map_err(|_| silent())??;
        stream.set_nodelay(true)?;
        let (reading, writing) = stream.into_split();
        let waiting =
            Arc::new(Waiting { calls: Mutex::new(Some(HashMap::new())), heard: Mutex::new(Instant::now()) });
        let (outgoing, frames) = mpsc::unbounded_channel();
        let tasks = [
            tokio::spawn(end_of(Arc::clone(&waiting), read_all(reading, Arc::clone(&waiting)))),
            tokio::spawn(end_of(Arc::clone(&waiting), write_all(writing, frames))),
        ];
        Ok(Self { outgoing, waiting, tasks })
    }

    /// Whether it can't be used any more.
    pub(super) fn is_broken(&self) -> bool {
        self.waiting.with(|calls| calls.is_none())
    }

    /// How long nothing has come.
    pub(super) fn silence(&self) -> Duration {
        self.waiting.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Sends `frame` with number `xid` and waits for its answer, for as long as the connection lasts.
    pub(super) async fn exchange(&self, xid: u32, frame: Frame) -> Result<Bytes, Broken> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.with(|calls| calls.as_mut().map(|calls| calls.insert(xid, sender))).ok_or(Broken)?;
        let _listed = Listed { waiting: &self.waiting, xid };
        self.outgoing.send(frame).map_err(|_| Broken)?;
        receiver.await.map_err(|_| Broken)
    }
}

/// Runs one direction of a connection, and ends every call when it does.
async fn end_of(waiting: Arc<Waiting>, work: impl Future<Output = io::Result<()>>) {
    if let Err(error) = work.await {
        tracing::debug!(%error, "a connection to the server broke");
    }
    waiting.with(Option::take);
}

async fn read_all(reading: OwnedReadHalf, waiting: Arc<Waiting>) -> io::Result<()> {
    let mut reading = BufReader::with_capacity(READ_BUFFER, reading);
    let mut record = BytesMut::new();
    loop {
        let mark = reading.read_u32().await?;
        let length = usize::try_from(mark & !(1 << 31)).unwrap_or(usize::MAX);
        if record.len().saturating_add(length) > LONGEST_RECORD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the server sends a record without end"));
        }
        record.reserve(length);
        let mut rest = (&mut reading).take(length as u64);
        while rest.limit() > 0 {
            if rest.read_buf(&mut record).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if mark & (1 << 31) != 0 {
            waiting.answered(std::mem::take(&mut record).freeze());
        }
    }
}

async fn write_all(
    mut writing: OwnedWriteHalf,
    mut frames: mpsc::UnboundedReceiver<Frame>,
) -> io::Result<()> {
    while let Some(frame) = frames.recv().await {
        let mut bytes = frame.head.chain(frame.data).chain(frame.padding);
        writing.write_all_buf(&mut bytes).await?;
    }
    Ok(())
}
