//! Connections: record marking, and calls that are carried out side by side.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::rpc::LARGEST_CALL;
use crate::service::{Outcome, Service};

/// How many calls of one connection are carried out at once; further ones wait in the socket.
const AT_ONCE: usize = 64;

/// Marks the last part of a message.
const LAST: u32 = 0x8000_0000;

/// Answers the calls of one connection until either side ends it.
pub(crate) async fn converse(
    service: Arc<Service>,
    stream: TcpStream,
    client: SocketAddr,
    port: u16,
    with_faults: bool,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection without TCP_NODELAY");
    }
    let account = Arc::new(Account::new(service.state.journal.clone(), client.ip()));
    let (reading, writing) = stream.into_split();
    let (answers, outgoing) = mpsc::channel(AT_ONCE);
    let sending = tokio::spawn(send(writing, outgoing));
    let work = Work { service, account, port, with_faults, answers };
    if let Err(error) = work.run(reading).await {
        tracing::debug!(%error, "connection ended early");
    }
    sending.abort();
}

struct Work {
    service: Arc<Service>,
    account: Arc<Account>,
    port: u16,
    with_faults: bool,
    answers: mpsc::Sender<Vec<u8>>,
}

impl Work {
    /// Reads calls and starts them. Its end ends those that are at work.
    async fn run(self, reading: OwnedReadHalf) -> io::Result<()> {
        let mut reading = BufReader::with_capacity(64 * 1024, reading);
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let close = CancellationToken::new();
        let mut calls = JoinSet::new();
        loop {
            let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
            let message = tokio::select! {
                message = next(&mut reading) => message?,
                () = close.cancelled() => return Ok(()),
            };
            let Some(message) = message else { return Ok(()) };
            let answering =
                self.service.clone().answer(message, self.account.clone(), self.port, self.with_faults);
            let (answers, close) = (self.answers.clone(), close.clone());
            calls.spawn(async move {
                match answering.await {
                    // The connection ends by itself where nobody takes its answers.
                    Outcome::Answer(bytes) => drop(answers.send(bytes).await),
                    Outcome::Silence => {}
                    Outcome::Close => close.cancel(),
                }
                drop(permit);
            });
            while calls.try_join_next().is_some() {}
        }
    }
}

/// The next message, put together from its parts; `None` at the end.
async fn next(reading: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    loop {
        let mark = match reading.read_u32().await {
            Ok(mark) => mark,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && message.is_empty() => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let length = usize::try_from(mark & !LAST).map_err(io::Error::other)?;
        let start = message.len();
        if start + length > LARGEST_CALL {
            return Err(io::Error::other(format!("a call of more than {LARGEST_CALL} bytes")));
        }
        message.resize(start + length, 0);
        reading.read_exact(&mut message[start..]).await?;
        if mark & LAST != 0 {
            return Ok(Some(message));
        }
    }
}

async fn send(mut writing: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = outgoing.recv().await {
        let mark = u32::try_from(bytes.len()).unwrap_or(u32::MAX) | LAST;
        let mark = mark.to_be_bytes();
        let sent = async {
            // Small answers in one packet, large ones without a copy.
            if bytes.len() < 4096 {
                writing.write_all(&[&mark, bytes.as_slice()].concat()).await
            } else {
                writing.write_all(&mark).await?;
                writing.write_all(&bytes).await
            }
        };
        if let Err(error) = sent.await {
            tracing::debug!(%error, "an answer can't be sent");
            return;
        }
    }
}
