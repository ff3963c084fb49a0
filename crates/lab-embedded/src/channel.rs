//! The socket pair between outside and inside, as a stream of JSON lines.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// The reading end.
pub(crate) struct Reader {
    lines: Lines<BufReader<OwnedReadHalf>>,
}

/// The writing end.
pub(crate) struct Writer {
    half: OwnedWriteHalf,
    buffer: Vec<u8>,
}

/// Both ends of `stream`. Must be called on a runtime.
pub(crate) fn split(stream: StdUnixStream) -> io::Result<(Reader, Writer)> {
    stream.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(stream)?.into_split();
    Ok((Reader { lines: BufReader::new(read).lines() }, Writer { half: write, buffer: Vec::new() }))
}

impl Reader {
    /// The next message; none once the other side is gone.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        match self.lines.next_line().await? {
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
            None => Ok(None),
        }
    }
}

impl Writer {
    /// Sends one message.
    pub(crate) async fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, message)?;
        self.buffer.push(b'\n');
        self.half.write_all(&self.buffer).await
    }
}
